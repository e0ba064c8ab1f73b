"""Random small networks, each with a batch."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from purenet import init

__all__ = ["Problem", "problem", "read_only"]

Params = dict[str, npt.NDArray[np.floating]]


class Problem(NamedTuple):
    """A network and a batch that fits it."""

    params: Params
    x: npt.NDArray[np.floating]
    y: npt.NDArray[np.integer]


def problem(*sizes: int, n: int = 7, seed: int = 0, dtype: npt.DTypeLike = np.float64) -> Problem:
    """Draw a network with biases, and n examples for it."""
    rng = np.random.default_rng(seed)
    params = init(sizes, seed=seed, dtype=dtype)
    for k in range(1, len(sizes)):
        params[f"b{k}"] += rng.normal(scale=0.5, size=sizes[k]).astype(dtype)
    return Problem(
        params, rng.normal(size=(n, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], n)
    )


def read_only(problem: Problem) -> Problem:
    """Return the problem with arrays that are not writable."""
    for array in (*problem.params.values(), problem.x, problem.y):
        array.flags.writeable = False
    return problem
