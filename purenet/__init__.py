"""purenet: the reference multilayer perceptron, as pure functions over dictionaries of arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purenet.public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return a public name, importing them all when the first one is used.

    NumPy takes a while to import, and the command line, which is a part of this package, must handle
    Ctrl-C before that.
    """
    public = import_module("purenet.public")
    if name != "__all__" and name not in public.__all__:
        raise AttributeError(f"module 'purenet' has no attribute {name!r}")
    return getattr(public, name)


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
