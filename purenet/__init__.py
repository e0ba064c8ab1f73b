"""purenet: the reference multilayer perceptron, as pure functions over dictionaries of arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purenet.public import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return a public name, importing them all when the first one is used.

    The command line, which is a part of this package, must handle Ctrl-C before NumPy is imported,
    which takes a while.
    """
    public = import_module("purenet.public")
    if name != "__all__" and name not in public.__all__:
        raise AttributeError(f"module 'purenet' has no attribute {name!r}")
    return getattr(public, name)


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]
