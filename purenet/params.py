"""The dictionary of parameters: its type, layers and flat vector; checks of arguments and data.

The public functions refuse bad input with a ValueError that names the value and what was expected.
Shapes and dtypes are always checked. Values (the range of labels, finiteness) are checked where
they are known; inside ``jax.jit`` they are not, and nothing can check them.
"""

import math
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_jax_array, is_numpy_array
from numpy.typing import NDArray


class Array(Protocol):
    """An array of any library that follows the Python array API standard.

    It lists the members that purenet uses. The standard leaves the types of operands to the
    libraries, so they are `Any` here.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def dtype(self) -> Any:
        """Type of the elements, an object of the library."""

    @property
    def T(self) -> Any:  # noqa: N802
        """The transposed matrix."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...


A = TypeVar("A", bound=Array)  # the arrays of one library
Params: TypeAlias = dict[str, NDArray[Any]]  # where only NumPy arrays are meant
Data: TypeAlias = tuple[Array, Array]

__all__ = [
    "A",
    "Array",
    "Data",
    "Params",
    "as_numpy",
    "can_be_sent",
    "check_classes",
    "check_data",
    "check_example_shape",
    "check_examples",
    "check_finite",
    "check_integer",
    "check_labels",
    "check_matching",
    "check_number",
    "check_params",
    "check_seed",
    "copy",
    "fingerprint",
    "first_not_finite",
    "flat_views",
    "from_layers",
    "is_weight",
    "layers",
    "names",
    "native",
    "params_as_numpy",
    "sizes",
]


BLOCK = 1 << 20  # bytes
SAMPLE = 1 << 30  # the most bytes of an array that `fingerprint` hashes


def names(depth: int) -> list[str]:
    """Return the names of the arrays of a network of so many layers: W1, b1, ..., WL, bL."""
    return [f"{letter}{k}" for k in range(1, depth + 1) for letter in "Wb"]


def is_weight(name: str) -> bool:
    """Tell whether a name is that of weights, which L2 penalises, and not of biases."""
    return name.startswith("W")


def layers(params: dict[str, A]) -> list[tuple[A, A]]:
    """Return (W_k, b_k) for k = 1, ..., L, whatever the order of the dictionary."""
    return [(params[f"W{k}"], params[f"b{k}"]) for k in range(1, len(params) // 2 + 1)]


def from_layers(pairs: Sequence[tuple[A, A]]) -> dict[str, A]:
    """Return the dictionary of the layers (W_k, b_k): the inverse of `layers`."""
    arrays = [array for pair in pairs for array in pair]
    return dict(zip(names(len(pairs)), arrays, strict=True))


def sizes(params: dict[str, A]) -> list[int]:
    """Return the units of each layer, inputs first and classes last."""
    return [params["W1"].shape[0], *(b.shape[0] for _, b in layers(params))]


def copy(params: dict[str, A]) -> dict[str, A]:
    """Return the same numbers in arrays that share no memory with the given ones."""
    return {name: array_namespace(p).asarray(p, copy=True) for name, p in params.items()}


def flat_views(vector: NDArray[Any], params: Params) -> Params:
    """Return views of a vector in the names, the order and the shapes of the parameters.

    The vector holds W1, ..., WL, b1, ..., bL, whatever the order of the dictionary, so that saving
    and loading parameters does not change the rounding of sums over the vector.
    """
    views, start = dict(params), 0
    weights_first = sorted(names(len(params) // 2), key=is_weight, reverse=True)
    for name in weights_first:
        p = params[name]
        views[name] = vector[start : start + p.size].reshape(p.shape)
        start += p.size
    return views


def fingerprint(*arrays: Array) -> str:
    """Describe data by their dtypes, shapes and a hash, so that other data can be told apart.

    The hash is BLAKE2b. Of an array of up to 1 GiB it covers all bytes. Of a larger array, which
    may be a memory map, it covers about 1 GiB: blocks of rows of 1 MiB each, at equal distances.
    A change between these blocks is not noticed.

    Parameters
    ----------
    *arrays : array
        Arrays of any dtype and layout, with at least one axis.

    Returns
    -------
    str
        Equal for equal arrays, whatever their layout in memory.

    Examples
    --------
    >>> fingerprint(np.zeros((2, 3), np.uint8), np.array([1, 0]))
    'uint8 (2, 3), int64 (2,), blake2b fe3d13e20689728632ce8d44a02fe200'
    """
    digest = blake2b(digest_size=16)
    descriptions = []
    for array in arrays:
        descriptions.append(f"{array.dtype} {tuple(array.shape)}")
        row_bytes = np.asarray(array[:1]).nbytes
        block_rows = max(1, BLOCK // max(1, row_bytes))
        distance = block_rows * max(1, math.ceil(row_bytes * array.shape[0] / SAMPLE))
        for start in range(0, array.shape[0], distance):
            block = np.asarray(array[start : start + block_rows])
            digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    return f"{', '.join(descriptions)}, blake2b {digest.hexdigest()}"


def check_number(name: str, value: Any, *, below: float = math.inf) -> float:
    """Return `value` as a Python float in [0, below), a type that widens no array's dtype."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    with suppress(OverflowError):  # an int may be too large
        if real and 0 <= float(value) < below:
            return float(value)
    limit = "a finite number >= 0" if below == math.inf else f"a number in [0, {below:g})"
    raise ValueError(f"{name} must be {limit}, got {value!r}")


def check_integer(name: str, value: Any, *, least: int) -> int:
    """Return `value` as a Python int of at least `least`."""
    try:
        exact = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        exact = None
    if exact is None or exact < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return exact


def check_seed(value: Any) -> int:
    """Return a seed as a Python int. From 2¹²⁸ on, a seed could repeat a spawned stream."""
    seed = check_integer("seed", value, least=0)
    if seed >= 2**128:
        raise ValueError(f"seed must be below 2**128, got {seed}")
    return seed


def check_params(params: dict[str, A]) -> Any:
    """Refuse parameters that are not those of a network; return their array namespace."""
    if not params or set(params) != set(names(len(params) // 2)):
        raise ValueError(f"params must have the keys W1, b1, ..., WL, bL, got {list(params)}")
    xp = namespace(**params)
    dtype = params["W1"].dtype
    # NumPy orders complex numbers by their real parts: a complex step may go through `loss`.
    if not xp.isdtype(dtype, ("real floating", "complex floating")):
        raise ValueError(f"params must be floating-point arrays, W1 has dtype {dtype}")
    if not getattr(dtype, "isnative", True):  # libraries differ in what they take
        raise ValueError(
            f"params must have the byte order of this machine, W1 has dtype {dtype}: "
            f"convert with astype({dtype.name!r})"
        )
    fan_in = None
    for k, (W, b) in enumerate(layers(params), start=1):
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
    return xp


def first_not_finite(arrays: dict[str, A]) -> str | None:
    """Return the name of the first array that holds NaN or infinity, or None."""
    for name, array in arrays.items():
        xp = array_namespace(array)
        if not bool(xp.all(xp.isfinite(array))):
            return name
    return None


def check_finite(title: str, arrays: dict[str, A]) -> None:
    """Refuse a dictionary of arrays that holds NaN or infinity."""
    name = first_not_finite(arrays)
    if name:
        raise ValueError(f"{title} must be finite, got NaN or infinity in {name}")


def check_examples(params: dict[str, A], x: Array, rows: Sequence[int] | None = None) -> A:
    """Return `x`, a batch of finite examples that fits the network, in the parameters' dtype.

    If the batch is a part of other data, `rows` are the numbers of its rows there, for the message.
    """
    xp = check_example_shape(params, x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise ValueError(
            f"x must hold floating-point numbers, got {x.dtype}: convert and scale integers, "
            "as in x / 255 for 8-bit pixels"
        )
    converted = xp.astype(x, params["W1"].dtype, copy=False)
    finite = xp.isfinite(converted)
    if known(xp.all(finite), bool) is False:
        row = int(xp.argmin(xp.astype(xp.all(finite, axis=1), xp.int8)))
        row = row if rows is None else int(rows[row])
        raise ValueError(f"x must be finite in {converted.dtype}, got NaN or infinity in row {row}")
    return converted


def check_example_shape(params: dict[str, A], x: Array, *, sent: bool = False) -> Any:
    """Refuse an `x` that does not fit the network in shape and kind; return its namespace.

    If it is data to be `sent` to the device of the parameters, it may be a NumPy array.
    """
    W1 = params["W1"]
    xp = _data_namespace(W1, sent=sent, x=x)
    if x.ndim != 2 or x.shape[1] != W1.shape[0]:
        raise ValueError(f"x must have shape (batch, {W1.shape[0]}), got {tuple(x.shape)}")
    if x.shape[0] == 0:
        raise ValueError(f"x must hold at least one example, got shape {tuple(x.shape)}")
    if not xp.isdtype(x.dtype, ("real floating", "integral")):
        raise ValueError(f"x must hold real numbers, got dtype {x.dtype}")
    return xp


def native(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in C order and in the byte order of this machine: if it is, the same one."""
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def as_numpy(name: str, array: Array) -> NDArray[Any]:
    """Return an array of any library as one of NumPy, or refuse types that files do not hold."""
    found = native(np.asarray(array))
    if found.dtype not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{name} must be of float16, float32 or float64, got {found.dtype}")
    return found


def params_as_numpy(params: dict[str, A]) -> Params:
    """Return parameters as arrays of NumPy, or refuse what a file of a network does not hold."""
    check_params(params)
    check_finite("params", params)
    return {name: as_numpy(name, p) for name, p in params.items()}


def can_be_sent(like: Array, array: Array) -> bool:
    """Tell whether this is a NumPy array for parameters of JAX: the one mixture that is allowed."""
    return is_numpy_array(array) and is_jax_array(like)


def check_labels(params: dict[str, A], y: Array, n: int, *, sent: bool = False) -> None:
    """Refuse labels that are not one integer per example, each the index of a class."""
    xp, classes = _data_namespace(params["W1"], sent=sent, y=y), sizes(params)[-1]
    if tuple(y.shape) != (n,):
        one_hot = tuple(y.shape) == (n, classes)
        remedy = ": take the argmax of each row if these are one-hot labels" if one_hot else ""
        raise ValueError(
            f"y must have shape ({n},), one label per row of x, got {tuple(y.shape)}{remedy}"
        )
    if not xp.isdtype(y.dtype, "integral"):
        raise ValueError(
            f"y must hold integer labels, got dtype {y.dtype}: number the classes, "
            "as np.unique(y, return_inverse=True)[1] does"
        )
    for extreme in (known(xp.min(y), int), known(xp.max(y), int)):
        if extreme is not None and not 0 <= extreme < classes:
            raise ValueError(f"y must hold labels from 0 to {classes - 1}, got {extreme}")


def check_data(params: dict[str, A], data: Data) -> Data:
    """Return x and y, refusing what does not fit a real network; values of x are not looked at."""
    xp = check_params(params)
    if xp.isdtype(params["W1"].dtype, "complex floating"):
        raise ValueError(f"params must be real to be trained, W1 has dtype {params['W1'].dtype}")
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"data must be a pair (x, y), got {type(data).__name__}")
    x, y = data
    check_example_shape(params, x, sent=True)
    check_labels(params, y, x.shape[0], sent=True)
    return x, y


def check_classes(params: dict[str, A], classes: Any) -> list[str]:
    """Refuse names of classes that are not one text for each output of the network."""
    n = sizes(params)[-1]
    names = [classes] if isinstance(classes, str) or not hasattr(classes, "__iter__") else classes
    found = [name for name in names if isinstance(name, str) and name.isprintable()]
    if len(found) != len(names) or found == [classes]:
        raise ValueError(f"classes must be printable texts, got {classes!r}")
    if len(found) != n:
        raise ValueError(f"classes must be {n} texts, as the network has outputs, got {len(found)}")
    return [str(name) for name in found]


def check_matching(params: dict[str, A], **others: dict[str, A]) -> None:
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
    """Return the array namespace of arrays, which must all be of one library."""
    for name, array in arrays.items():
        if not is_array_api_obj(array):
            raise ValueError(
                f"{name} must be an array, got a {type(array).__name__}: "
                "convert it, for example with np.asarray"
            )
    try:
        return array_namespace(*arrays.values())
    except TypeError:
        types = ", ".join(f"{name} is a {_type(array)}" for name, array in arrays.items())
        raise ValueError(f"arrays must all be of one array library: {types}") from None


def _data_namespace(like: Array, *, sent: bool, **data: Array) -> Any:
    """Return the namespace of one array of data, of another library only where it may be sent."""
    (array,) = data.values()
    if sent and can_be_sent(like, array):
        return array_namespace(array)
    return namespace(params=like, **data)


def _type(array: Array) -> str:
    return f"{type(array).__module__.split('.')[0]} {type(array).__name__}"


def known(value: Any, as_type: Callable[[Any], Any]) -> Any:
    """Return a 0-d array as a Python value, or None inside a trace, which has no values yet."""
    try:
        return as_type(value)
    except TypeError:
        return None
