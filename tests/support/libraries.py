"""The array libraries that are installed: NumPy, array-api-strict and JAX always, PyTorch if so."""

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
    """Return an array of any of these libraries as NumPy's."""
    return np.asarray(array)
