"""The functions of `purenet.engines.plain`, compiled by Numba (the extra ``fast``)."""

import math
from typing import Any

import numpy as np
from numba import njit

from purenet._checks import Array

__all__ = ["bias_relu", "mask", "softmax_minus_labels", "squares", "update"]

# Sums may be reordered, so that they run in vector registers; NaN and infinity keep their meaning.
compiled = njit(cache=True, fastmath={"contract", "nsz", "reassoc"})


@compiled
def bias_relu(z: Array, b: Array) -> None:
    """Turn z into a = max(z + b, 0)."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            with_bias = z[i, j] + b[j]
            z[i, j] = z.dtype.type(0) if with_bias <= 0 else with_bias


@compiled
def mask(delta: Array, a: Array) -> None:
    """Turn δ into δ ⊙ [a > 0]."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            delta[i, j] = delta[i, j] if a[i, j] > 0 else delta.dtype.type(0)


@compiled
def softmax_minus_labels(z: Array, y: Array, factor: Any) -> float:
    """Turn logits z into factor · (softmax(z) - t), and return the sum of their cross-entropies."""
    loss = 0.0
    for i in range(z.shape[0]):
        largest = z[i].max()
        of_label = z[i, y[i]] - largest
        total = z.dtype.type(0)
        for j in range(z.shape[1]):
            z[i, j] = math.exp(z[i, j] - largest)
            total += z[i, j]
        scale = factor / total
        for j in range(z.shape[1]):
            z[i, j] *= scale
        z[i, y[i]] -= factor
        loss += math.log(total) - of_label
    return loss


def update(state: Array, _: Array, momentum: Any, decay: Any, rate: Any) -> float:
    """Turn rows v, g, p into v ← β v + g + decay p and p ← p - η v; return the new Σ p²."""
    return float(update_rows(state[0], state[1], state[2], momentum, decay, rate))


@compiled
def update_rows(v: Array, g: Array, p: Array, momentum: Any, decay: Any, rate: Any) -> Any:
    """Do what `update` does."""
    total = p.dtype.type(0)
    for i in range(p.size):
        v[i] = momentum * v[i] + g[i] + decay * p[i]
        p[i] -= rate * v[i]
        total += p[i] * p[i]
    return total


def squares(p: Array) -> float:
    """Return Σ p², in the bits that `update` gives for parameters that stay where they are."""
    zero = p.dtype.type(0)
    return float(update_rows(np.zeros_like(p), np.zeros_like(p), p.copy(), zero, zero, zero))
