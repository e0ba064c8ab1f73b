"""What a training step does between its matrix products, by NumPy."""

from typing import Any

import numpy as np

from purenet._checks import Array

__all__ = ["bias_relu", "mask", "softmax_minus_labels", "squares", "update"]


def bias_relu(z: Array, b: Array) -> None:
    """Turn z into a = max(z + b, 0)."""
    z += b
    np.maximum(z, 0, out=z)


def mask(delta: Array, a: Array) -> None:
    """Turn δ into δ ⊙ [a > 0]."""
    delta *= a > 0


def softmax_minus_labels(z: Array, y: Array, factor: Any) -> float:
    """Turn logits z into factor · (softmax(z) - t), and return the sum of their cross-entropies."""
    index = np.arange(len(y))
    z -= z.max(axis=1, keepdims=True)
    of_labels = z[index, y]
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    z *= factor / total
    z[index, y] -= factor
    return float(np.log(total).sum() - of_labels.sum())


def update(state: Array, scratch: Array, momentum: Any, decay: Any, rate: Any) -> float:
    """Turn rows v, g, p of state into v ← β v + g + decay p and p ← p - η v; return the new Σ p².

    One product of the three coefficients with the three rows reads them once.
    """
    v, _, p = state
    np.matmul(np.array([momentum, 1, decay], state.dtype), state, out=scratch)
    v[:] = scratch
    scratch *= rate
    p -= scratch
    return squares(p)


def squares(p: Array) -> float:
    """Return Σ p²."""
    return float(p @ p)
