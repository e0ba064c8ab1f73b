"""What the public functions refuse: a ``ValueError`` names the value and what was expected.

Shapes and dtypes are always checked. Values (label range, finiteness) are checked when they are
known: under ``jax.jit`` they are not, and the check is left to the caller.
"""

import math
import operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

Array: TypeAlias = Any  # an array of any library that follows the array API standard
Params: TypeAlias = dict[str, Array]
Data: TypeAlias = tuple[Array, Array]

__all__ = [
    "Array",
    "Data",
    "Params",
    "data",
    "example_shape",
    "examples",
    "integer",
    "labels",
    "matching",
    "network",
    "number",
]


def number(name: str, value: Any, *, below: float = math.inf) -> float:
    """Return `value` as a Python float in [0, below), which never widens an array's dtype."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    with suppress(OverflowError):  # an int may be too large
        if real and 0 <= float(value) < below:
            return float(value)
    limit = "a finite number >= 0" if below == math.inf else f"a number in [0, {below:g})"
    raise ValueError(f"{name} must be {limit}, got {value!r}")


def integer(name: str, value: Any, *, least: int) -> int:
    """Return `value` as a Python int of at least `least`."""
    try:
        exact = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        exact = None
    if exact is None or exact < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return exact


def network(params: Params) -> tuple[Any, int]:
    """Return the array namespace and the number of layers of well-formed parameters."""
    depth = len(params) // 2
    names = {f"{letter}{k}" for k in range(1, depth + 1) for letter in "Wb"}
    if depth == 0 or set(params) != names:
        raise ValueError(f"params must have the keys W1, b1, ..., WL, bL, got {list(params)}")
    xp = namespace(**params)
    dtype = params["W1"].dtype
    # NumPy orders complex numbers by their real parts: a complex step may go through `loss`.
    if not xp.isdtype(dtype, ("real floating", "complex floating")):
        raise ValueError(f"params must be floating-point arrays, W1 has dtype {dtype}")
    fan_in = None
    for k in range(1, depth + 1):
        W, b = params[f"W{k}"], params[f"b{k}"]
        if W.ndim != 2 or 0 in W.shape or fan_in not in (None, W.shape[0]):
            raise ValueError(
                f"W{k} must have shape ({fan_in or 'fan_in'}, fan_out), got {tuple(W.shape)}"
            )
        fan_in = W.shape[1]
        if tuple(b.shape) != (fan_in,):
            raise ValueError(f"b{k} must have shape ({fan_in},), got {tuple(b.shape)}")
        for name, array in ((f"W{k}", W), (f"b{k}", b)):
            if array.dtype != dtype:
                raise ValueError(f"{name} has dtype {array.dtype}, expected {dtype} as W1")
    return xp, depth


def examples(params: Params, x: Array) -> Array:
    """Return `x`, a batch of finite examples that fits the network, in the parameters' dtype."""
    xp = example_shape(params, x)
    converted = xp.astype(x, params["W1"].dtype, copy=False)
    if known(xp.all(xp.isfinite(converted)), bool) is False:
        raise ValueError(f"x must be finite in {converted.dtype}, got NaN or infinity")
    return converted


def example_shape(params: Params, x: Array) -> Any:
    """Refuse an `x` that does not fit the network in shape and dtype; return its namespace."""
    W1 = params["W1"]
    xp = namespace(params=W1, x=x)
    if x.ndim != 2 or x.shape[1] != W1.shape[0]:
        raise ValueError(f"x must have shape (batch, {W1.shape[0]}), got {tuple(x.shape)}")
    if x.shape[0] == 0:
        raise ValueError(f"x must hold at least one example, got shape {tuple(x.shape)}")
    if not xp.isdtype(x.dtype, ("real floating", "integral")):
        raise ValueError(f"x must hold real numbers, got dtype {x.dtype}")
    return xp


def labels(params: Params, y: Array, n: int) -> None:
    """Refuse labels that are not one integer per example, each the index of a class."""
    last = params[f"b{len(params) // 2}"]
    xp, classes = namespace(params=last, y=y), last.shape[0]
    if tuple(y.shape) != (n,):
        raise ValueError(f"y must have shape ({n},), one label per row of x, got {tuple(y.shape)}")
    if not xp.isdtype(y.dtype, "integral"):
        raise ValueError(f"y must hold integer labels, got dtype {y.dtype}")
    for extreme in (known(xp.min(y), int), known(xp.max(y), int)):
        if extreme is not None and not 0 <= extreme < classes:
            raise ValueError(f"y must hold labels from 0 to {classes - 1}, got {extreme}")


def data(params: Params, pair: Data) -> Data:
    """Return x and y, refusing what does not fit a real network; values of x are not looked at."""
    xp, _ = network(params)
    if xp.isdtype(params["W1"].dtype, "complex floating"):
        raise ValueError(f"params must be real to be trained, W1 has dtype {params['W1'].dtype}")
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(f"data must be a pair (x, y), got {type(pair).__name__}")
    x, y = pair
    example_shape(params, x)
    labels(params, y, x.shape[0])
    return x, y


def matching(params: Params, **others: Params) -> None:
    """Refuse dictionaries whose keys, shapes or dtypes are not those of `params`."""
    for title, other in others.items():
        if set(other) != set(params):
            raise ValueError(f"{title} must have the keys {list(params)}, got {list(other)}")
        for name, p in params.items():
            array = other[name]
            if array.shape != p.shape or array.dtype != p.dtype:
                raise ValueError(
                    f"{title}[{name!r}] must have shape {tuple(p.shape)} and dtype {p.dtype}, "
                    f"got {tuple(array.shape)} and {array.dtype}"
                )


def namespace(**arrays: Array) -> Any:
    """Return the namespace of the one library that arrays are of."""
    try:
        return array_namespace(*arrays.values())
    except TypeError:
        types = ", ".join(f"{name} is a {_type(array)}" for name, array in arrays.items())
        raise ValueError(f"arrays must all be of one array library: {types}") from None


def _type(array: Array) -> str:
    return f"{type(array).__module__.split('.')[0]} {type(array).__name__}"


def known(value: Array, as_type: Callable[[Array], Any]) -> Any:
    """Return a Python value of a 0-d array, or None inside a trace, which has no values yet."""
    try:
        return as_type(value)
    except TypeError:
        return None
