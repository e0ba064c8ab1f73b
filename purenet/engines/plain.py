"""What a training step is made of, by NumPy."""

from typing import Any

import numpy as np

from purenet._checks import Array

__all__ = [
    "ROWS",
    "accumulate",
    "bias_relu",
    "mask",
    "product",
    "scaled",
    "softmax_minus_labels",
    "squares",
    "update",
]

ROWS = "velocity", "sums", "params", "scratch"


def scaled(raw: Array, scale: Any, out: Array) -> None:
    """Write scale · raw."""
    np.copyto(out, raw)
    out *= scale


def product(a: Array, b: Array, out: Array) -> None:
    """Compute out ← a b."""
    np.matmul(a, b, out=out)


def accumulate(a: Array, delta: Array, total: Array, beta: float, scratch: Array) -> None:
    """Compute total ← beta total + aᵀ δ, where beta is 0 or 1."""
    grad = scratch[: total.size].reshape(total.shape) if beta else total
    np.matmul(a.T, delta, out=grad)
    if beta:
        total += grad


def bias_relu(z: Array, b: Array) -> None:
    """Turn z into a = max(z + b, 0)."""
    z += b
    np.maximum(z, 0, out=z)


def mask(delta: Array, a: Array, total: Array, beta: Any) -> None:
    """Turn δ into δ ⊙ [a > 0], and total into beta total + Σ_i δ_i."""
    delta *= a > 0
    total *= beta
    total += delta.sum(axis=0)


def softmax_minus_labels(
    z: Array, b: Array, y: Array, factor: Any, total: Array, beta: Any
) -> float:
    """Turn z into δ = factor · (softmax(z + b) - t), and total into beta total + Σ_i δ_i.

    Return the sum of the cross-entropies.
    """
    index, wide = np.arange(len(y)), np.result_type(z.dtype, np.float32)  # float16 ends at 65504
    z += b
    z -= z.max(axis=1, keepdims=True)
    of_labels = z[index, y].sum(dtype=wide)
    np.exp(z, out=z)
    row = z.sum(axis=1, keepdims=True)
    z *= factor / row
    z[index, y] -= factor
    total *= beta
    total += z.sum(axis=0)
    return float(np.log(row).sum(dtype=wide) - of_labels)


def update(state: Array, momentum: float, decay: float, rate: float) -> float:
    """Turn rows v, g, p into v ← β v + g + decay p and p ← p - η v; return the new Σ p².

    One product of the three coefficients with the three rows reads them once.
    """
    v, _, p, scratch = state
    np.matmul(np.array([momentum, 1, decay], state.dtype), state[:3], out=scratch)
    v[:] = scratch
    scratch *= scratch.dtype.type(rate)
    p -= scratch
    return squares(p)


def squares(p: Array) -> float:
    """Return Σ p²."""
    return float(p @ p)
