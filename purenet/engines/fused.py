"""The functions of `purenet.engines.plain`, by SciPy's BLAS and Numba (the extra ``fast``).

BLAS accumulates: it multiplies the velocity by β and adds the gradient in one product, and its
threads update the parts of vectors that they have just written. NumPy's own BLAS, whose threads
would wait in a pool of their own, is not called in a step.
"""

import math
from typing import Any

import numpy as np
from numba import njit
from scipy.linalg.blas import get_blas_funcs

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

ROWS = "velocity", "params"  # gradients are summed in the velocity

_BLAS = {t: get_blas_funcs(("gemm", "axpy", "dot"), dtype=t) for t in (np.float32, np.float64)}


def compiled(function: Any) -> Any:
    """Compile a function, and keep the result on disk if there is a place that can be written.

    Sums may be reordered, so that they run in vector registers; NaN and infinity keep their
    meaning.
    """
    options: Any = {"fastmath": {"contract", "nsz", "reassoc"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in the user's home
        return njit(**options)(function)


@compiled
def scaled(raw: Array, scale: Any, out: Array) -> None:
    """Write scale · raw."""
    for i in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            out[i, j] = raw[i, j] * scale


def product(a: Array, b: Array, out: Array, beta: float = 0.0) -> None:
    """Compute out ← a b + beta out, of matrices whose rows or columns lie together."""
    gemm = _BLAS[out.dtype.type][0]
    # BLAS counts by columns: it is given outᵀ ← bᵀ aᵀ + beta outᵀ.
    b_rows, a_rows = b.flags.c_contiguous, a.flags.c_contiguous
    gemm(
        1.0,
        b.T if b_rows else b,
        a.T if a_rows else a,
        beta,
        out.T,
        trans_a=not b_rows,
        trans_b=not a_rows,
        overwrite_c=True,
    )


def accumulate(a: Array, delta: Array, total: Array, beta: float, _: Array) -> None:
    """Compute total ← beta total + aᵀ δ."""
    product(a.T, delta, total, beta)


@compiled
def bias_relu(z: Array, b: Array) -> None:
    """Turn z into a = max(z + b, 0)."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            with_bias = z[i, j] + b[j]
            z[i, j] = z.dtype.type(0) if with_bias <= 0 else with_bias


@compiled
def mask(delta: Array, a: Array, total: Array, beta: Any) -> None:
    """Turn δ into δ ⊙ [a > 0], and total into beta total + Σ_i δ_i."""
    for j in range(total.size):
        total[j] *= beta
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            delta[i, j] = delta[i, j] if a[i, j] > 0 else delta.dtype.type(0)
            total[j] += delta[i, j]


def softmax_minus_labels(
    z: Array, b: Array, y: Array, factor: Any, total: Array, beta: Any
) -> float:
    """Turn z into δ = factor · (softmax(z + b) - t), and total into beta total + Σ_i δ_i.

    Return the sum of the cross-entropies.
    """
    of_labels = shift(z, b, y)
    np.exp(z, out=z)  # in vector registers, unlike Numba's
    return float(normalise(z, y, factor, total, beta) - of_labels)


@compiled
def shift(z: Array, b: Array, y: Array) -> float:
    """Turn z into z + b less the largest of its row; return the sum of those of the labels."""
    of_labels = 0.0
    for i in range(z.shape[0]):
        largest = z[i, 0] + b[0]
        for j in range(z.shape[1]):
            z[i, j] += b[j]
            largest = max(largest, z[i, j])
        for j in range(z.shape[1]):
            z[i, j] -= largest
        of_labels += z[i, y[i]]
    return of_labels


@compiled
def normalise(e: Array, y: Array, factor: Any, total: Array, beta: Any) -> float:
    """Turn exponentials into δ, and total as above; return the sum of the logarithms of rows."""
    logs = 0.0
    for j in range(total.size):
        total[j] *= beta
    for i in range(e.shape[0]):
        row = e.dtype.type(0)
        for j in range(e.shape[1]):
            row += e[i, j]
        logs += math.log(row)
        scale = factor / row
        for j in range(e.shape[1]):
            e[i, j] *= scale
        e[i, y[i]] -= factor
        for j in range(e.shape[1]):
            total[j] += e[i, j]
    return logs


def update(state: Array, _: float, decay: float, rate: float) -> float:
    """Turn rows v, p into v ← v + decay p and p ← p - η v; return the new Σ p²."""
    v, p = state
    axpy = _BLAS[p.dtype.type][1]
    if decay:
        axpy(p, v, a=decay)
    axpy(v, p, a=-rate)
    return squares(p)


def squares(p: Array) -> float:
    """Return Σ p²."""
    return float(_BLAS[p.dtype.type][2](p, p))
