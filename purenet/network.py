"""The multilayer perceptron, with the equation beside each line of code.

A network of L layers is a dictionary of arrays W1, b1, ..., WL, bL, with Wk of shape
(fan_in, fan_out); a batch x holds one example per row. The functions are written against the Python
array API standard: NumPy, PyTorch, JAX (inside ``jit``, under ``grad``) and other libraries that
follow it run this code unchanged. A bad value raises ValueError, which names it and what was
expected.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from purenet.params import (
    A,
    Array,
    Params,
    check_examples,
    check_integer,
    check_labels,
    check_number,
    check_params,
    check_seed,
    layers,
)

__all__ = ["backward", "forward", "init", "loss"]


def init(
    sizes: Sequence[int], *, seed: int = 0, scale: str | float = "he", dtype: Any = np.float32
) -> Params:
    """Draw initial parameters: W_k ~ N(0, s²) with s = √(2 / fan_in) or a given s, and b_k = 0.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, inputs first and classes last: ``[784, 200, 50, 10]``.
    seed : int
        Seed of PCG64, from 0 to 2¹²⁸ - 1. Numbers are drawn in float64 and rounded to `dtype`.
    scale : "he" or float
        ``"he"``, or the standard deviation s itself.
    dtype : dtype
        A real floating-point NumPy dtype.

    Returns
    -------
    dict of numpy.ndarray
        W1, b1, ..., WL, bL, of shapes (fan_in, fan_out) and (fan_out,).

    Raises
    ------
    ValueError
        Fewer than two sizes, a size below 1, or another value that is not as described above.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Delving Deep into Rectifiers", 2015, section 2.2.

    Examples
    --------
    >>> {name: p.shape for name, p in init([784, 50, 10]).items()}
    {'W1': (784, 50), 'b1': (50,), 'W2': (50, 10), 'b2': (10,)}
    """
    sizes = [check_integer(f"sizes[{k}]", size, least=1) for k, size in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes must name at least inputs and classes, got {sizes}")
    if np.dtype(dtype).kind != "f" or not np.dtype(dtype).isnative:
        raise ValueError(f"dtype must be a real floating-point type, got {np.dtype(dtype)}")
    std = None if scale == "he" else check_number('scale, if not "he",', scale)
    rng = np.random.Generator(np.random.PCG64(check_seed(seed)))
    params = {}
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        s = (2 / fan_in) ** 0.5 if std is None else std
        params[f"W{k}"] = (s * rng.standard_normal((fan_in, fan_out))).astype(dtype)
        params[f"b{k}"] = np.zeros(fan_out, dtype)
    return params


def forward(params: dict[str, A], x: Array) -> A:
    """Compute the logits z_L: z_k = a_{k-1} W_k + b_k, a_k = max(z_k, 0), a_0 = x.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (batch, features)
        Finite floating-point numbers. They are converted to the dtype of the parameters.

    Returns
    -------
    array, shape (batch, classes)
        Unnormalised log-probabilities, in the dtype of the parameters.

    Raises
    ------
    ValueError
        Keys, shapes, dtypes or values that are not as described above.

    Examples
    --------
    >>> params = {"W1": np.array([[1.0, -1.0]]), "b1": np.array([0.5, 0.0])}
    >>> forward(params, np.array([[2.0]]))
    array([[ 2.5, -2. ]])
    """
    return _activations(params, x)[-1]


def _activations(params: dict[str, A], x: Array) -> list[A]:
    """Return [a_0, a_1, ..., a_{L-1}, z_L]: the input of each layer, then the logits."""
    check_params(params)
    *hidden, (W_L, b_L) = layers(params)
    a = [check_examples(params, x)]
    for W, b in hidden:
        z = a[-1] @ W + b  # z_k = a_{k-1} W_k + b_k
        a.append(z * _positive(z))  # a_k = z_k ⊙ [z_k > 0]
    return [*a, a[-1] @ W_L + b_L]  # no ReLU after the last layer


def _positive(z: A) -> A:
    """Return [z > 0] as numbers.

    Multiplying by it needs no branch, keeps NaN, and differentiates to ReLU'(0) = 0. It turns -inf
    into NaN, too.
    """
    return array_namespace(z).astype(z > 0, z.dtype)


def loss(params: dict[str, A], x: Array, y: Array, *, l2: float = 0.0) -> A:
    """Compute the objective J = -(1/n) Σ_i log softmax(z_L,i)[y_i] + ½ l2 Σ_k ‖W_k‖².

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (batch, features)
        Finite floating-point numbers.
    y : array, shape (batch,)
        Integer labels, from 0 to classes - 1.
    l2 : float
        Strength of the penalty on weights (not biases), at least 0. It does not depend on the batch
        size.

    Returns
    -------
    scalar array
        J, in nats per example.

    Raises
    ------
    ValueError
        Keys, shapes, dtypes, labels or values that are not as described above.

    References
    ----------
    I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", 2016, sections 6.2.2.3 and 7.1.1.

    Examples
    --------
    >>> params = {"W1": np.zeros((3, 2)), "b1": np.zeros(2)}
    >>> print(loss(params, np.ones((4, 3)), np.array([0, 1, 1, 0])))  # log 2
    0.6931471805599453
    """
    return loss_and_delta(params, forward(params, x), y, check_number("l2", l2))[0]


def log_softmax(z: A) -> A:
    """Return z - m - log Σ_j exp(z_j - m) with m = max_j z_j, so that no exponential overflows."""
    xp = array_namespace(z)
    z = z - xp.max(z, axis=1, keepdims=True)
    return z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))


def loss_and_delta(params: dict[str, A], logits: A, y: Array, l2: float) -> tuple[A, A]:
    """Return J and δ_L = ∂J/∂z_L = (p - t) / n, with p = softmax(z_L) and t the one-hot labels."""
    xp = array_namespace(logits)
    n, classes = logits.shape
    check_labels(params, y, n)
    log_p = log_softmax(logits)
    index = xp.arange(classes, device=device(y))
    t = xp.astype(y, index.dtype)[:, None] == index
    value = -xp.mean(xp.sum(xp.where(t, log_p, 0), axis=1))
    return with_penalty(value, params, l2), (xp.exp(log_p) - xp.astype(t, log_p.dtype)) / n


def with_penalty(value: A, params: dict[str, A], l2: float) -> A:
    """Return value + ½ l2 Σ_k ‖W_k‖²."""
    if l2 > 0:  # 0 times a sum that overflows would be NaN
        for W, _ in layers(params):
            w = array_namespace(W).reshape(W, (-1,))
            value = value + 0.5 * l2 * (w @ w)
    return value


def backward(
    params: dict[str, A], x: Array, y: Array, *, l2: float = 0.0
) -> tuple[A, dict[str, A]]:
    """Compute the loss and its gradient by the chain rule: ``value_and_grad(loss)``, by hand.

    With δ_k = ∂J/∂z_k and t the one-hot labels: δ_L = (softmax(z_L) - t) / n,
    ∂J/∂W_k = a_{k-1}ᵀ δ_k + l2 W_k, ∂J/∂b_k = Σ_i δ_k,i, δ_{k-1} = (δ_k W_kᵀ) ⊙ [z_{k-1} > 0].

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL, all of one floating-point dtype.
    x : array, shape (batch, features)
        Finite floating-point numbers.
    y : array, shape (batch,)
        Integer labels, from 0 to classes - 1.
    l2 : float
        Strength of the penalty on weights, at least 0.

    Returns
    -------
    loss : scalar array
        The same bits as `loss`.
    grads : dict of array
        The gradient, with the keys, shapes and dtypes of the parameters; ReLU'(0) is 0.

    Raises
    ------
    ValueError
        Keys, shapes, dtypes, labels or values that are not as described above.

    References
    ----------
    D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors",
    1986.

    Examples
    --------
    >>> params = {"W1": np.zeros((3, 2)), "b1": np.zeros(2)}
    >>> value, grads = backward(params, np.ones((1, 3)), np.array([0]))
    >>> grads["b1"]
    array([-0.5,  0.5])
    """
    l2 = check_number("l2", l2)
    *a, logits = _activations(params, x)
    value, delta = loss_and_delta(params, logits, y, l2)
    xp = array_namespace(logits)
    grads = dict(params)
    for k in range(len(a), 0, -1):
        W = params[f"W{k}"]
        grads[f"W{k}"] = a[k - 1].T @ delta + l2 * W  # ∂J/∂W_k = a_{k-1}ᵀ δ_k + l2 W_k
        grads[f"b{k}"] = xp.sum(delta, axis=0)  # ∂J/∂b_k = Σ_i δ_k,i
        if k > 1:
            delta = (delta @ W.T) * _positive(a[k - 1])  # δ_{k-1} = (δ_k W_kᵀ) ⊙ [z_{k-1} > 0]
    return value, grads
