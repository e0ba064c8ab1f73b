"""How an epoch is run fast; each engine computes what the pure functions say."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from array_api_compat import array_namespace

from purenet._checks import Array, Params

__all__ = ["CHUNK", "Engine", "as_input", "batches", "copy"]

CHUNK = 1024  # rows: products are large enough, and activations stay in cache


class Engine(Protocol):
    """The parameters and velocity of a run, between its batches."""

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, in this order.

        Return the loss of each batch before its update; one that is not finite is the last.
        """

    def snapshot(self) -> tuple[Params, Params]:
        """Return parameters and velocity in arrays that the engine will not write again."""


def batches(rows: Sequence[int], size: int) -> Iterator[Any]:
    """Cut rows into batches of a size; the last may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def as_input(params: Params, x: Array, input_scale: float) -> Array:
    """Convert integer examples to the dtype of the parameters, scaled; leave others as they are."""
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "integral"):
        return xp.astype(x, params["W1"].dtype) * input_scale
    return x


def copy(params: Params) -> Params:
    """Return the same numbers in arrays of their own."""
    return {name: array_namespace(p).asarray(p, copy=True) for name, p in params.items()}
