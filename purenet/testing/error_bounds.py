"""Bound the rounding errors of a correct implementation a priori.

**One operation.** fl(x ∘ y) = (x ∘ y)(1 + δ) + η with |δ| ≤ u = eps / 2 and |η| ≤ tiny, the least
normal number, because hardware may flush subnormal operands and results to zero. Vectorised
exponentials and logarithms are within 4 ulp, at most 4 eps relative. Products and sums of n terms,
in any order, with or without fused multiply-add, lose at most γ_n = n u / (1 - n u) of the sum of
the magnitudes of their terms [Higham, sections 3.1 and 3.5]. A term that is exactly 0 loses
nothing.

**A running bound** [Higham, section 3.3]. Each intermediate array is a pair (value, error). `value`
is one evaluation in float64. The invariant: every correct evaluation in the working precision,
float64 at best, lies within `error` of the exact array. So the exact array lies within `error` of
`value`, every other evaluation lies within 2 `error` of it, and size = |value| + 2 error bounds the
magnitudes of them all.

**Products.** As |ãb̃ - ab| ≤ err_a |b| + |ã| err_b, and as ãb̃ itself is rounded,
err(a b) = err_a size_b + size_a err_b + γ_n size_a size_b + 3 tiny (number of terms that are not
0): a term may underflow as a product, in its sum, and in what the sum is added to. A bias is one
more term: z = [a 1] [W; b].

**ReLU.** |max(z̃, 0) - max(z, 0)| ≤ |z̃ - z|, and a = 0 without error where every z̃ is negative.
Where |value| ≤ 2 err_z, correct evaluations may differ in sign. One has δ = 0 and one has δ = v, so
the error is size_v there. But where err_z = 0, as in a sum of zeros, every z̃ is 0, and so is δ.

**Log-softmax.** Let Δ_j be the error of z_j - max z with the rounding of the difference, so that
|Δ_j| ≤ d_j = err_z,j + u |z_j - max z|. It changes log p_j by -log Σ_i p_i exp(Δ_i - Δ_j). This is
at most log(1 + Σ_{i≠j} p_i (exp(d_i + d_j) - 1)), and at most max_{i≠j} (d_i + d_j), as
Σ_i p_i = 1: an unlikely class adds little, however large its logit. To this come the errors of the
exponentials of C classes (4 eps relative, and so 4 eps in the logarithm), of their sum (γ_C), of
its logarithm (4 eps log C) and of the last difference (u |log p_j|). Finally,
|p̃_j - p_j| ≤ p_j (exp(err + 4 eps) - 1) + tiny.
A kernel may also compute p_y - 1 as minus the sum of the other p̃_j, and it may add l2 W as one
more term of the sum in the gradient, anywhere in its order. Where 1 - β is computed from a β that
is rounded, it is off by u β. These are all allowed. The bound assumes that the cross-entropies are
summed apart from the squares of the weights, since γ over all weights would allow nearly any loss.
It also assumes that the maximum is subtracted first. The expression z_j - log Σ_i exp(z_i),
computed as written, is off by u max |z| even where one class is certain.

The bounds are evaluated in float64. The rounding of this evaluation, and the terms of order eps²
left out above, change them by less than 1/1000 (up to 10⁴ classes in float32). u and tiny are
enlarged by as much.

N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., 2002, chapter 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from purenet.params import Params, layers

__all__ = ["Arithmetic", "backward_bound", "forward_bound", "probability_bound", "step_bound"]


class Within(NamedTuple):
    """Hold an array in float64, and a bound of the error of every correct evaluation."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def size(self) -> NDArray[np.float64]:
        """Bound the magnitude of the exact array and of every correct evaluation."""
        return np.abs(self.value) + 2 * self.error


def exactly(value: NDArray[np.float64]) -> Within:
    """Return an array without error."""
    return Within(value, np.zeros_like(value))


def rearrange(f: Callable[[NDArray[np.float64]], NDArray[np.float64]], a: Within) -> Within:
    """Apply a function that moves or selects elements to the values and to their errors."""
    return Within(f(a.value), f(a.error))


def join(f: Callable[[list[NDArray[np.float64]]], NDArray[np.float64]], *parts: Within) -> Within:
    """Join arrays by `np.hstack` or `np.vstack`: values with values, errors with errors."""
    return Within(f([a.value for a in parts]), f([a.error for a in parts]))


class Arithmetic:
    """Compute in a working precision, on arrays known within an error.

    Parameters
    ----------
    dtype : dtype
        The working precision.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        info = np.finfo(dtype)
        self.dtype = np.dtype(dtype)
        self.u = 1.001 * float(info.eps) / 2
        self.tiny = 1.001 * float(info.smallest_normal)
        self.four_ulp = 8 * self.u

    def gamma(self, n: int) -> float:
        """Bound the relative error of n roundings."""
        return n * self.u / (1 - n * self.u)

    def given(self, array: NDArray[Any]) -> Within:
        """Return an operand, whose errors come from a change of dtype and from subnormals alone."""
        value = np.asarray(array, np.float64)
        rounding = 0.0 if array.dtype == self.dtype else self.u
        size = np.abs(value)
        return Within(value, np.where(size < self.tiny, size, rounding * size))

    def product(self, a: Within, b: Within, more: int = 0) -> Within:
        """Multiply two matrices; so many more terms may stand in the same sums."""
        terms = (a.size > 0).astype(float) @ (b.size > 0).astype(float)
        error = a.error @ b.size + a.size @ b.error + 3 * self.tiny * terms
        gamma = self.gamma(len(b.value) + more)
        return Within(a.value @ b.value, error + gamma * (a.size @ b.size))

    def plus(self, a: Within, b: Within) -> Within:
        """Add two arrays. Their own errors already allow for the underflow of the sum."""
        total = Within(a.value + b.value, a.error + b.error)
        return Within(total.value, total.error + self.u * total.size)

    def times(self, c: float, a: Within) -> Within:
        """Multiply an array by a number c >= 0, which is rounded too."""
        underflow = 3 * self.tiny * (1 + a.size) * (a.size > 0) * (c > 0)
        return Within(c * a.value, c * (a.error + self.gamma(2) * a.size) + underflow)

    def log_softmax(self, z: Within) -> Within:
        """Return log softmax(z) of each row of logits."""
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
        """Return exp(a) for a <= 0."""
        error = a.error + self.four_ulp
        most = np.exp(np.minimum(a.value + 2 * error, 0))  # from 1 on, error says no more than this
        return Within(np.exp(a.value), most * np.expm1(np.minimum(error, 1)) + self.tiny)


def signs(z: Within) -> tuple[NDArray[np.bool], NDArray[np.bool]]:
    """Return where z > 0 in this evaluation, and where other evaluations may find otherwise."""
    return z.value > 0, (z.error > 0) & (np.abs(z.value) <= 2 * z.error)


def propagate(
    working: Arithmetic, params: Params, x: NDArray[Any]
) -> tuple[list[Within], list[Within]]:
    """Return the inputs a_0, ..., a_{L-1} and the results z_1, ..., z_L of the layers."""
    a, inputs, results = working.given(x), [], []
    for W, b in layers(params):
        z = working.product(
            join(np.hstack, a, exactly(np.ones((len(x), 1)))),
            join(np.vstack, working.given(W), working.given(b[None, :])),
        )
        inputs.append(a)
        results.append(z)
        on, unsure = signs(z)
        a = Within(np.where(on, z.value, 0), np.where(on | unsure, z.error, 0))
    return inputs, results


def forward_bound(
    params: Params, x: NDArray[Any], *, working: Arithmetic | None = None
) -> NDArray[Any]:
    """Bound the absolute error of each logit.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL; their dtype is the working precision.
    x : numpy.ndarray, shape (batch, features)
        Examples.
    working : Arithmetic, optional
        Another working precision.

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
    return propagate(working or Arithmetic(params["W1"].dtype), params, x)[1][-1].error


def probability_bound(params: Params, x: NDArray[Any]) -> NDArray[Any]:
    """Bound the absolute error of each probability, the softmax of the logits.

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
    >>> params = {"W1": np.array([[0.1, 0.2]]), "b1": np.array([0.2, 0.1])}
    >>> bool(0 < probability_bound(params, np.array([[0.3]])).max() < 1e-14)
    True
    """
    working = Arithmetic(params["W1"].dtype)
    return working.exp(working.log_softmax(propagate(working, params, x)[1][-1])).error


def backward_bound(
    params: Params,
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    l2: float = 0.0,
    working: Arithmetic | None = None,
) -> tuple[float, Params]:
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
    working : Arithmetic, optional
        Another working precision.

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
    working = working or Arithmetic(params["W1"].dtype)
    inputs, results = propagate(working, params, x)
    log_p = working.log_softmax(results[-1])
    n, classes = log_p.value.shape
    ones, one_hot = exactly(np.ones((1, n))), np.eye(classes)[y]

    picked = rearrange(lambda array: array[np.arange(n), y][:, None], log_p)
    terms = [working.times(1 / n, working.product(exactly(-ones.value), picked))]
    p = working.exp(log_p)
    minus = working.plus(p, exactly(-one_hot))
    others = ((p.error + working.gamma(classes) * p.size) * (1 - one_hot)).sum(axis=1)[:, None]
    minus = Within(minus.value, np.maximum(minus.error, one_hot * others))
    delta = working.times(1 / n, minus)
    bounds = dict(params)
    for k in range(len(inputs), 0, -1):
        W = working.given(params[f"W{k}"])
        row = rearrange(lambda array: array.reshape(1, -1), W)
        squares = working.product(row, rearrange(np.transpose, row))
        terms.append(working.times(0.5 * l2, squares))
        of_loss = working.product(rearrange(np.transpose, inputs[k - 1]), delta, more=1)
        decay = working.times(l2, W)
        bounds[f"W{k}"] = working.plus(of_loss, decay).error + working.gamma(n) * decay.size
        bounds[f"b{k}"] = working.product(ones, delta).error[0]
        if k > 1:
            v = working.product(delta, rearrange(np.transpose, W))
            on, unsure = signs(results[k - 2])
            error = np.where(unsure, v.size, np.where(on, v.error, 0))
            delta = Within(np.where(on, v.value, 0), error)
    loss = working.product(exactly(np.ones((1, len(terms)))), join(np.vstack, *terms))
    return float(loss.error.item()), bounds


def step_bound(
    params: Params, velocity: Params, grads: Params, *, learning_rate: float, momentum: float
) -> tuple[Params, Params]:
    """Bound the absolute errors of the results of a step.

    Parameters
    ----------
    params, velocity, grads : dict of numpy.ndarray
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
    bounds: tuple[Params, Params] = ({}, {})
    for name, p in params.items():
        working = Arithmetic(p.dtype)
        kept = working.times(momentum, working.given(velocity[name]))
        g = working.given(grads[name])
        new = working.times(1 - momentum, g)
        of_beta = working.u * momentum * g.size  # 1 - β of a β that is rounded
        v = working.plus(kept, Within(new.value, new.error + of_beta))
        move = working.times(learning_rate, v)
        p_new = working.plus(working.given(p), Within(-move.value, move.error))
        bounds[0][name], bounds[1][name] = p_new.error, v.error
    return bounds
