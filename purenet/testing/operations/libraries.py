"""Arrays of any library, made from NumPy arrays and turned back into them."""

from typing import Any

import ml_dtypes
import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj
from numpy.typing import NDArray

from purenet.testing.trees import to_numpy

__all__ = ["Library", "numbers_of"]


class Library:
    """Make arrays of a library on a device.

    Parameters
    ----------
    xp : module
        An array namespace: ``numpy``, ``torch``, ``jax.numpy``, ``cupy`` or any other with
        `asarray` and dtypes as attributes.
    device : device, optional
        A device of that library.

    Raises
    ------
    ValueError
        A module that is no array namespace.
    """

    def __init__(self, xp: Any, device: Any = None) -> None:
        if not callable(getattr(xp, "asarray", None)):
            raise ValueError(f"xp must be an array library such as numpy or torch, got {xp!r}")
        self.xp, self.name = xp, getattr(xp, "__name__", str(xp))
        self.device = {} if device is None else {"device": device}

    def array(self, values: NDArray[Any], dtype: str) -> Any:
        """Return an array in a dtype of this name, which holds the values exactly."""
        namespace = ml_dtypes if self.xp is np and dtype == "bfloat16" else self.xp
        if not hasattr(namespace, dtype):
            raise ValueError(f"{self.name} has no {dtype}")
        array = self.xp.asarray(values.copy(), dtype=getattr(namespace, dtype), **self.device)
        if dtype_name(array) != dtype:
            hint = ': set jax.config.update("jax_enable_x64", True)' if "jax" in self.name else ""
            raise ValueError(f"{self.name} gives {array.dtype} where {dtype} was asked for{hint}")
        return array

    def labels(self, values: NDArray[Any]) -> Any:
        """Return an array of labels in the library's default integer dtype."""
        return self.xp.asarray(values.tolist(), **self.device)

    def misfit(self, result: Any, like: Any, shape: tuple[int, ...], dtype: str) -> str | None:
        """Say what is wrong with the type, the device, the shape or the dtype of a result."""
        if not is_array_api_obj(result) and not isinstance(result, np.generic):
            return f"must be an array, got {type(result).__name__}"
        if not isinstance(result, type(like) | np.generic):
            return f"must be an array of {self.name}, got {type(result).__name__}"
        if tuple(result.shape) != shape:
            return f"must have shape {shape}, got {tuple(result.shape)}"
        if dtype_name(result) != dtype:
            return f"must have dtype {dtype}, got {result.dtype}"
        if not isinstance(result, np.generic) and device(result) != device(like):
            return f"must be on {device(like)}, got {device(result)}"
        return None

    def leave_in_memory(self, value: float, shapes: list[tuple[int, ...]], dtype: str) -> None:
        """Fill arrays of some shapes with a value, and free them for whoever comes next."""
        for shape in shapes:
            filled = [self.array(np.full(shape, value), dtype) for _ in range(3)]
            del filled


def dtype_name(array: Any) -> str:
    """Return the name of a dtype without that of its library."""
    return str(array.dtype).rpartition(".")[2]


def numbers_of(array: Any) -> NDArray[Any]:
    """Return a copy of the numbers of an array as float64, or as integers, in NumPy.

    Parameters
    ----------
    array : array
        An array of any library.

    Returns
    -------
    numpy.ndarray
        Its numbers.
    """
    in_numpy = isinstance(array, np.generic | np.ndarray)
    if not in_numpy and dtype_name(array) == "bfloat16":  # NumPy knows it only by ml_dtypes
        xp = array_namespace(array)
        array = xp.astype(array, xp.float32)
    found = to_numpy(array)
    if found.dtype.kind in "iub":
        return found.copy()
    with np.errstate(invalid="ignore"):  # the NaN of bfloat16
        return found.astype(np.float64)
