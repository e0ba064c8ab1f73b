"""The array libraries that are tested: NumPy, array-api-strict, JAX and, if installed, PyTorch."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import array_api_strict
import jax.numpy
import numpy as np

__all__ = ["LIBRARIES", "to_numpy"]

LIBRARIES: dict[str, Callable[[Any], Any]] = {
    "numpy": np.asarray,
    "array_api_strict": array_api_strict.asarray,
    "jax": jax.numpy.asarray,
}
if find_spec("torch"):
    import torch

    LIBRARIES["torch"] = torch.asarray


def to_numpy(array: Any) -> Any:
    """Return an array of any of these libraries as a NumPy array."""
    return np.asarray(array)
