"""Engines run epochs. Each computes what `reference` defines, up to rounding."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from array_api_compat import array_namespace

from purenet.params import A, Array, can_be_sent, check_number, native

__all__ = ["CHUNK", "Engine", "as_input", "cut"]

CHUNK = 1024  # examples: products are large enough, and their activations stay in cache


class Engine(Protocol):
    """The parameters and the velocity of a run, and how its batches are processed."""

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows of the data, in this order.

        Return the loss of each batch, taken before its update. Stop at the first loss that is not
        finite, without updating the parameters. After an exception the engine cannot be used again.
        """

    def snapshot(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return parameters and velocity in arrays that the engine will not write again."""


def cut(rows: Sequence[int], size: int) -> Iterator[Any]:
    """Cut rows into parts of one size. The last part may be smaller."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def as_input(params: dict[str, A], x: Array, input_scale: float | None) -> Array:
    """Scale integers, in the dtype of the parameters; return floats as they are.

    Examples in a NumPy array become an array of JAX if the parameters are.
    """
    if can_be_sent(params["W1"], x):
        given: Any = x
        x = array_namespace(params["W1"]).asarray(native(given))
    xp = array_namespace(x)
    scale = None if input_scale is None else check_number("input_scale", input_scale)
    if not xp.isdtype(x.dtype, "integral"):
        return x
    if scale is None:
        raise ValueError(
            f"x holds integers ({x.dtype}): give input_scale, their factor in training "
            "(1/255 for 8-bit pixels by default)"
        )
    dtype = params["W1"].dtype
    wide = xp.result_type(dtype, xp.float32)  # integers above 65504 overflow in float16
    return xp.astype(xp.astype(x, wide) * scale, dtype, copy=False)
