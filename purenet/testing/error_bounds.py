"""How far from the exact result a correct implementation may be: rounding errors, bounded a priori.

**One operation.** fl(x ∘ y) = (x ∘ y)(1 + δ) + η with |δ| ≤ u = eps / 2 and |η| ≤ tiny, the least
normal number: hardware may flush subnormal operands and results to zero. Vectorised exponentials
and logarithms are within 4 ulp, at most 4 eps relative. Products and sums of n terms, in any order,
with or without fused multiply-add, lose at most γ_n = n u / (1 - n u) of the sum of the magnitudes
of their terms [Higham, sections 3.1 and 3.5]; a term that is exactly 0 loses nothing.

**A running bound** [Higham, section 3.3]. Each intermediate array is carried as (value, error):
`value` is one evaluation in float64, and the invariant is that every correct evaluation in the
working precision, float64 at best, lies within `error` of the exact array. So the exact array lies
within `error` of `value`, every other evaluation within 2 `error` of it, and
size = |value| + 2 error is above the magnitudes of them all.

**Products.** As |ãb̃ - ab| ≤ err_a |b| + |ã| err_b, with the rounding of ãb̃ itself
err(a b) = err_a size_b + size_a err_b + γ_n size_a size_b + 3 tiny (number of terms that are not
0): a term may underflow as a product, in its sum, and in what the sum is added to. A bias is one
more term: z = [a 1] [W; b].

**ReLU.** |max(z̃, 0) - max(z, 0)| ≤ |z̃ - z|, and a = 0 without error where every z̃ is negative.
Where |value| ≤ 2 err_z, correct evaluations may differ in sign, one with δ = 0 and one with δ = v:
there the error is size_v. But where err_z = 0, as in a sum of zeros, every z̃ is 0, and δ too.

**Log-softmax.** Let Δ_j be the error of z_j - max z with the rounding of the difference, so that
|Δ_j| ≤ d_j = err_z,j + u |z_j - max z|. It changes log p_j by -log Σ_i p_i exp(Δ_i - Δ_j), at most
log(1 + Σ_{i≠j} p_i (exp(d_i + d_j) - 1)) and at most max_{i≠j} (d_i + d_j), as Σ_i p_i = 1: an
unlikely class adds little, however large its logit. Then come the exponentials of C classes (4 eps
relative, and so 4 eps in the logarithm), their sum (γ_C), its logarithm (4 eps log C) and the last
difference (u |log p_j|). Last, |p̃_j - p_j| ≤ p_j (exp(err + 4 eps) - 1) + tiny.
This needs the maximum to be subtracted first: z_j - log Σ_i exp(z_i), computed as written, is off
by u max |z| even where one class is certain.

The bounds are evaluated in float64. What that rounds, and terms of order eps² left out above,
change them by less than 1/1000 (up to 10⁴ classes in float32), by which u and tiny are enlarged.

N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., 2002, chapter 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["backward_bound", "forward_bound", "step_bound"]

Array = Any
Network = dict[str, Any]


class Within(NamedTuple):
    """An array in float64, and how far from the exact array a correct evaluation may be."""

    value: Array
    error: Array

    @property
    def size(self) -> Array:
        """Bound the magnitude of the exact array and of every correct evaluation."""
        return np.abs(self.value) + 2 * self.error


def exactly(value: Array) -> Within:
    """Return an array without error."""
    return Within(value, np.zeros_like(value))


def each(f: Callable[..., Array], *arrays: Within) -> Within:
    """Rearrange or join arrays: values with values, and errors with errors."""
    return Within(f(*(a.value for a in arrays)), f(*(a.error for a in arrays)))


def stack(*rows: Array) -> Array:
    """Put matrices on top of each other."""
    return np.vstack(rows)


class Arithmetic:
    """The operations of a working precision, on arrays known within an error."""

    def __init__(self, dtype: Any) -> None:
        info = np.finfo(dtype)
        self.dtype = np.dtype(dtype)
        self.u = 1.001 * float(info.eps) / 2
        self.tiny = 1.001 * float(info.smallest_normal)
        self.four_ulp = 8 * self.u

    def gamma(self, n: int) -> float:
        """Bound the relative error of n roundings."""
        return n * self.u / (1 - n * self.u)

    def given(self, array: Array) -> Within:
        """Take an operand: without error, but for a change of dtype and for subnormals."""
        value = np.asarray(array, np.float64)
        rounding = 0.0 if array.dtype == self.dtype else self.u
        size = np.abs(value)
        return Within(value, np.where(size < self.tiny, size, rounding * size))

    def product(self, a: Within, b: Within) -> Within:
        """Multiply two matrices."""
        terms = (a.size > 0).astype(float) @ (b.size > 0).astype(float)
        error = a.error @ b.size + a.size @ b.error + 3 * self.tiny * terms
        return Within(a.value @ b.value, error + self.gamma(len(b.value)) * (a.size @ b.size))

    def plus(self, a: Within, b: Within) -> Within:
        """Add two arrays, whose own errors allow for the underflow of their sum."""
        total = Within(a.value + b.value, a.error + b.error)
        return Within(total.value, total.error + self.u * total.size)

    def times(self, c: float, a: Within) -> Within:
        """Multiply an array by a number c >= 0 that is rounded, too."""
        underflow = 3 * self.tiny * (1 + a.size) * (a.size > 0) * (c > 0)
        return Within(c * a.value, c * (a.error + self.gamma(2) * a.size) + underflow)

    def log_softmax(self, z: Within) -> Within:
        """Return log p, for each row of logits."""
        classes = z.value.shape[1]
        s = z.value - z.value.max(axis=1, keepdims=True)
        log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
        error = z.error + z.error.max(axis=1, keepdims=True)
        p, s_size = np.exp(np.minimum(log_p + error, 0)), np.abs(s) + 2 * error

        d = z.error + self.u * s_size
        gap = (d[:, :, None] + d[:, None, :]) * (1 - np.eye(classes))  # [example, i, j]
        widest = gap.max(axis=1)
        change = np.log1p((p[:, :, None] * np.expm1(np.minimum(gap, 100))).sum(axis=1))
        change = np.where(widest < 100, np.minimum(change, widest), widest)

        functions = self.four_ulp * (1 + np.log(classes)) + self.gamma(classes)
        difference = self.u * (s_size + np.log(classes))
        return Within(log_p, change + functions + difference + 3 * classes * self.tiny)

    def exp(self, a: Within) -> Within:
        """Return exp(a), for a <= 0."""
        error = a.error + self.four_ulp
        most = np.exp(np.minimum(a.value + 2 * error, 0))  # from 1 on, error says no more than this
        return Within(np.exp(a.value), most * np.expm1(np.minimum(error, 1)) + self.tiny)


def signs(z: Within) -> tuple[Array, Array]:
    """Return where z > 0 as it was evaluated, and where other evaluations may find otherwise."""
    return z.value > 0, (z.error > 0) & (np.abs(z.value) <= 2 * z.error)


def layers(working: Arithmetic, params: Network, x: Array) -> tuple[list[Within], list[Within]]:
    """Return the inputs a_0, ..., a_{L-1} and the results z_1, ..., z_L of the layers."""
    a, inputs, results = working.given(x), [], []
    for k in range(1, len(params) // 2 + 1):
        W, b = working.given(params[f"W{k}"]), working.given(params[f"b{k}"][None, :])
        z = working.product(
            each(lambda *parts: np.hstack(parts), a, exactly(np.ones((len(x), 1)))),
            each(stack, W, b),
        )
        inputs.append(a)
        results.append(z)
        on, unsure = signs(z)
        a = Within(np.where(on, z.value, 0), np.where(on | unsure, z.error, 0))
    return inputs, results


def forward_bound(params: Network, x: Array) -> Array:
    """Bound the absolute error of each logit.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL; their dtype is the working precision.
    x : numpy.ndarray, shape (batch, features)
        Examples.

    Returns
    -------
    numpy.ndarray, shape (batch, classes)
        Bounds, in float64.

    Examples
    --------
    >>> params = {"W1": np.array([[0.1]]), "b1": np.array([0.2])}
    >>> bool(0 < forward_bound(params, np.array([[0.3]])) < 4e-16)
    True
    """
    return layers(Arithmetic(params["W1"].dtype), params, x)[1][-1].error


def backward_bound(params: Network, x: Array, y: Array, *, l2: float = 0.0) -> tuple[Any, Network]:
    """Bound the absolute errors of the loss and of each coordinate of its gradient.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL; their dtype is the working precision.
    x : numpy.ndarray, shape (batch, features)
        Examples.
    y : numpy.ndarray, shape (batch,)
        Labels.
    l2 : float
        Strength of the penalty.

    Returns
    -------
    loss : float
        Bound of the error of the loss.
    grads : dict of numpy.ndarray
        Bounds, in the form of the gradient.

    Examples
    --------
    >>> params = {"W1": np.array([[1.0, -1.0]]), "b1": np.zeros(2)}
    >>> loss, grads = backward_bound(params, np.array([[1.0]]), np.array([0]))
    >>> bool(0 < loss < 1e-14)
    True
    """
    working = Arithmetic(params["W1"].dtype)
    inputs, results = layers(working, params, x)
    log_p = working.log_softmax(results[-1])
    n, classes = log_p.value.shape
    ones, one_hot = exactly(np.ones((1, n))), np.eye(classes)[y]

    picked = each(lambda array: array[np.arange(n), y][:, None], log_p)
    terms = [working.times(1 / n, working.product(exactly(-ones.value), picked))]
    delta = working.times(1 / n, working.plus(working.exp(log_p), exactly(-one_hot)))
    bounds = dict(params)
    for k in range(len(inputs), 0, -1):
        W = working.given(params[f"W{k}"])
        column = each(lambda array: array.reshape(-1, 1), W)
        terms.append(working.times(0.5 * l2, working.product(each(np.transpose, column), column)))
        of_loss = working.product(each(np.transpose, inputs[k - 1]), delta)
        bounds[f"W{k}"] = working.plus(of_loss, working.times(l2, W)).error
        bounds[f"b{k}"] = working.product(ones, delta).error[0]
        if k > 1:
            v = working.product(delta, each(np.transpose, W))
            on, unsure = signs(results[k - 2])
            error = np.where(unsure, v.size, np.where(on, v.error, 0))
            delta = Within(np.where(on, v.value, 0), error)
    loss = working.product(exactly(np.ones((1, len(terms)))), each(stack, *terms))
    return loss.error.item(), bounds


def step_bound(
    params: Network, velocity: Network, grads: Network, *, learning_rate: float, momentum: float
) -> tuple[Network, Network]:
    """Bound the absolute errors of a step's results.

    Parameters
    ----------
    params : dict of numpy.ndarray
        As for `purenet.momentum_step`.
    velocity : dict of numpy.ndarray
        As for `purenet.momentum_step`.
    grads : dict of numpy.ndarray
        As for `purenet.momentum_step`.
    learning_rate : float
        η.
    momentum : float
        β.

    Returns
    -------
    params, velocity : dict of numpy.ndarray
        Bounds, in the form of the results.

    Examples
    --------
    >>> p, v, g = {"b1": np.ones(1)}, {"b1": np.zeros(1)}, {"b1": np.ones(1)}
    >>> bounds, _ = step_bound(p, v, g, learning_rate=0.1, momentum=0.9)
    >>> bool(0 < bounds["b1"] < 4e-16)
    True
    """
    bounds: tuple[Network, Network] = ({}, {})
    for name, p in params.items():
        working = Arithmetic(p.dtype)
        kept = working.times(momentum, working.given(velocity[name]))
        v = working.plus(kept, working.times(1 - momentum, working.given(grads[name])))
        move = working.times(learning_rate, v)
        p_new = working.plus(working.given(p), Within(-move.value, move.error))
        bounds[0][name], bounds[1][name] = p_new.error, v.error
    return bounds
