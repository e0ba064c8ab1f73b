"""Python code that makes a value again: what a counterexample is printed as."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from purenet.testing.strategies import layout_of

__all__ = ["as_call", "as_code", "imports_of"]

IMPORTED = {
    "numpy": ("inf", "nan"),
    "purenet": ("Config", "State"),
    "purenet.testing.strategies": ("lay_out",),
}
"""The names that code may use beside those of `np`, by module."""


def imports_of(code: str) -> str:
    """Return the imports that the code of values needs.

    Parameters
    ----------
    code : str
        What `as_code` or `as_call` returned, or lines of these.

    Returns
    -------
    str
        Lines of code, of which the last ends with a newline too.

    Examples
    --------
    >>> print(imports_of("loss(np.array([inf, 1.0], np.float64))"), end="")
    import numpy as np
    from numpy import inf
    """
    words = set(re.findall(r"\w+", code))
    lines = ["import numpy as np\n"] if "np" in words else []
    for module, names in IMPORTED.items():
        if used := [name for name in names if name in words]:
            lines.append(f"from {module} import {', '.join(used)}\n")
    return "".join(lines)


def as_code(value: Any) -> str:  # noqa: PLR0911
    """Return Python code for a value: numbers, arrays with their layout, and what holds them.

    Parameters
    ----------
    value : object
        Numbers, texts, NumPy arrays, and dictionaries, lists, tuples and dataclasses of these.

    Returns
    -------
    str
        An expression that gives an equal value, after the lines of `imports_of`.

    Examples
    --------
    >>> as_code({"b1": np.zeros(2, np.float32), "l2": np.float64(0.5)})
    "{'b1': np.array([0.0, 0.0], np.float32), 'l2': np.float64(0.5)}"
    """
    if isinstance(value, np.ndarray):
        array = f"np.array({_numbers(value.tolist())}, np.{value.dtype})"
        if not value.size:
            array = f"np.zeros({value.shape}, np.{value.dtype})"
        layout = layout_of(value)
        return array if layout == "C" else f"lay_out({array}, {layout!r})"
    if isinstance(value, np.generic):
        return f"np.{value.dtype}({_numbers(value.item())})"
    if isinstance(value, type) and issubclass(value, np.generic):
        return f"np.{value.__name__}"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.name!r})"
    if is_dataclass(value) and not isinstance(value, type):
        given = (f"{f.name}={as_code(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({', '.join(given)})"
    if hasattr(value, "_fields"):
        return f"{type(value).__name__}({', '.join(map(as_code, value))})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {as_code(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_code, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(as_code, value))}{',' * (len(value) == 1)})"
    return repr(value)


def as_call(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return Python code for a call.

    Parameters
    ----------
    name : str
        The name of the function.
    args, kwargs : tuple, dict
        Its arguments.

    Returns
    -------
    str
        The call.

    Examples
    --------
    >>> as_call("loss", (1,), {"l2": np.float64(0.5)})
    'loss(1, l2=np.float64(0.5))'
    """
    parts = [*map(as_code, args), *(f"{key}={as_code(value)}" for key, value in kwargs.items())]
    return f"{name}({', '.join(parts)})"


def _numbers(values: Any) -> str:
    """Return the code of nested lists of numbers."""
    return re.sub(r"\s+", " ", repr(values))
