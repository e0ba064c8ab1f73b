"""A second implementation, deliberately slow: one example and one scalar at a time, to 60 digits.

The functions take the arguments of the functions of `purenet` and share no code with them. Arrays
may hold floats of any width or integers, which are taken exactly, or numbers that an oracle
returned. Results are object arrays of `mpmath.mpf` with the shapes of the arrays that they check.

Up to the logits every number is an exact fraction, so that each ReLU sees the true sign of its
input. From there on numbers have 60 digits and an exponent without limits. Nothing overflows, so no
maximum is subtracted. Nothing cancels before the sums over examples and units in the gradient. The
precision belongs to this module, which neither uses nor changes `mpmath.mp`.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import mpmath
import numpy as np
from numpy.typing import NDArray

__all__ = ["backward", "forward", "loss", "momentum_step", "train"]

_mp = mpmath.MPContext()
_mp.dps = 60

Arrays: TypeAlias = dict[str, NDArray[Any]]  # W1, b1, ..., WL, bL
Real: TypeAlias = Any  # mpmath.mpf, for which there are no types
Number: TypeAlias = Any  # an int, a float, a Fraction or an mpf
Vector: TypeAlias = list[Fraction]
Layer: TypeAlias = tuple[list[Vector], Vector]  # w[p][q] from unit p to unit q, and b[q]


def forward(params: Arrays, x: NDArray[Any]) -> NDArray[Any]:
    """Compute the logits: z_k[q] = Σ_p a_{k-1}[p] W_k[p, q] + b_k[q], a_k[q] = max(z_k[q], 0).

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    x : array, shape (batch, features)
        Examples.

    Returns
    -------
    object array of mpf, shape (batch, classes)
        The exact logits, rounded once to 60 digits.

    Raises
    ------
    ValueError
        An `x` that does not fit the first layer.

    Examples
    --------
    >>> params = {"W1": np.array([[1e20, 1.0]]), "b1": np.array([-1e20, 0.0])}
    >>> [float(z) for z in forward(params, np.array([[1.0 + 2**-52]]))[0]]
    [22204.46049250313, 1.0000000000000002]
    """
    layers = _layers(params)
    return _elementwise(_mpf, [_activations(layers, x_i)[-1] for x_i in _examples(layers, x)])


def loss(params: Arrays, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0) -> Real:
    """Compute J = (1/n) Σ_i log(1 + Σ_{j≠y} exp(z[j] - z[y])) + ½ l2 Σ_k Σ_pq W_k[p, q]².

    The logarithm is -log softmax(z)[y], in a form that subtracts no large numbers.

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    x : array, shape (batch, features)
        Examples.
    y : array, shape (batch,)
        Labels.
    l2 : float
        Strength of the penalty.

    Returns
    -------
    mpf
        J, in nats per example, with a relative error of about 10⁻⁶⁰ max(1, |z|).

    Raises
    ------
    ValueError
        An `x` that does not fit the first layer, another number of labels, or a label that is not a
        class.

    Examples
    --------
    >>> params = {"W1": np.array([[0.0, 1e4]]), "b1": np.zeros(2)}
    >>> float(loss(params, np.ones((1, 1)), np.array([0])))
    10000.0
    >>> mpmath.nprint(loss(params, np.ones((1, 1)), np.array([1])), 5)
    1.1355e-4343
    """
    layers = _layers(params)
    total = _mp.zero
    for x_i, y_i in zip(_examples(layers, x), _labels(layers, x, y), strict=True):
        z = _activations(layers, x_i)[-1]
        total += _mp.log1p(sum(_exp(z[j] - z[y_i]) for j in _others(y_i, z)))
    squares = sum(w_pq * w_pq for w, _ in layers for w_p in w for w_pq in w_p)
    return total / len(x) + _mpf(_exact(l2) * squares / 2)


def backward(
    params: Arrays, x: NDArray[Any], y: NDArray[Any], *, l2: float = 0.0
) -> tuple[Real, Arrays]:
    """Compute the loss and its gradient, by the chain rule from scalar to scalar.

    For each example, with s[j] = 1 / Σ_m exp(z_L[m] - z_L[j]): δ_L[j] = s[j] / n for j ≠ y,
    δ_L[y] = -Σ_{j≠y} s[j] / n, and δ_{k-1}[p] = Σ_q W_k[p, q] δ_k[q] where z_{k-1}[p] > 0, else 0.
    ∂J/∂W_k[p, q] = Σ_i a_{k-1}[p] δ_k[q] + l2 W_k[p, q] and ∂J/∂b_k[q] = Σ_i δ_k[q].

    Parameters
    ----------
    params : dict of array
        W1, b1, ..., WL, bL.
    x : array, shape (batch, features)
        Examples.
    y : array, shape (batch,)
        Labels.
    l2 : float
        Strength of the penalty.

    Returns
    -------
    loss : mpf
        The value of `loss`.
    grads : dict of object array of mpf
        The gradient, with the keys and shapes of the parameters.

    Raises
    ------
    ValueError
        An `x` that does not fit the first layer, another number of labels, or a label that is not a
        class.

    Examples
    --------
    >>> params = {"W1": np.zeros((3, 2)), "b1": np.zeros(2)}
    >>> value, grads = backward(params, np.ones((1, 3)), np.array([0]))
    >>> [float(g) for g in grads["b1"]]
    [-0.5, 0.5]
    """
    layers = _layers(params)
    grads = {name: _elementwise(lambda _: _mp.zero, p) for name, p in params.items()}
    for x_i, y_i in zip(_examples(layers, x), _labels(layers, x, y), strict=True):
        *a, z = _activations(layers, x_i)
        delta = [1 / sum(_exp(z_m - z_j) for z_m in z) / len(x) for z_j in z]
        delta[y_i] = -sum((delta[j] for j in _others(y_i, z)), start=_mp.zero)
        for k in range(len(layers), 0, -1):
            for q, delta_q in enumerate(delta):
                grads[f"b{k}"][q] += delta_q
                for p, a_p in enumerate(a[k - 1]):
                    grads[f"W{k}"][p, q] += _mpf(a_p) * delta_q
            weights, _ = layers[k - 1]
            delta = [
                sum(_mpf(w_pq) * delta_q for w_pq, delta_q in zip(w_p, delta, strict=True))
                if a_p > 0  # where z_{k-1}[p] > 0
                else _mp.zero
                for a_p, w_p in zip(a[k - 1], weights, strict=True)
            ]
    for k in range(1, len(layers) + 1):
        decay = _elementwise(lambda w_pq: _mpf(_exact(l2) * _exact(w_pq)), params[f"W{k}"])
        grads[f"W{k}"] = grads[f"W{k}"] + decay
    return loss(params, x, y, l2=l2), grads


def momentum_step(
    params: Arrays, velocity: Arrays, grads: Arrays, *, learning_rate: float, momentum: float
) -> tuple[Arrays, Arrays]:
    """Take one step, scalar by scalar: v ← β v + (1 - β) g, then p ← p - η v.

    Parameters
    ----------
    params : dict of array
        Parameters p.
    velocity : dict of array
        Velocity v.
    grads : dict of array
        Gradients g.
    learning_rate : float
        η.
    momentum : float
        β.

    Returns
    -------
    params, velocity : dict of object array of mpf
        The new parameters and velocity, to 60 digits.

    Examples
    --------
    >>> p, v, g = {"b1": np.array([1.0])}, {"b1": np.array([0.0])}, {"b1": np.array([2.0])}
    >>> params, velocity = momentum_step(p, v, g, learning_rate=0.5, momentum=0.5)
    >>> float(params["b1"][0]), float(velocity["b1"][0])
    (0.5, 1.0)
    """
    eta, beta = _mpf(learning_rate), _mpf(momentum)
    new_params, new_velocity = {}, {}
    for name, p in params.items():
        old_v, g = velocity[name], grads[name]
        v = _elementwise(lambda v_i, g_i: beta * _mpf(v_i) + (1 - beta) * _mpf(g_i), old_v, g)
        new_velocity[name] = v
        new_params[name] = _elementwise(lambda p_i, v_i: _mpf(p_i) - eta * v_i, p, v)
    return new_params, new_velocity


def train(
    params: Arrays,
    data: tuple[NDArray[Any], NDArray[Any]],
    *,
    learning_rate: float,
    momentum: float,
    l2: float,
    batch_size: int | None,
    epochs: int,
    shuffle: bool,
    seed: int,
    input_scale: float,
    shards: int = 1,  # noqa: ARG001  # exact sums do not depend on their order
) -> tuple[Arrays, Arrays, list[Real]]:
    """Fold `backward` and `momentum_step` over the batches of every epoch, from velocity zero.

    Epoch e = 0, 1, ... takes the examples in the order ``Generator(PCG64(SeedSequence(seed,
    spawn_key=(e,)))).permutation(n)`` if `shuffle` is true, and else in their own order. The last
    batch may be smaller. The keywords are the fields of `purenet.Config`:
    ``train(params, (x, y), **dataclasses.asdict(config))``.

    Parameters
    ----------
    params : dict of array
        The parameters that training starts from.
    data : (array, array)
        Examples and labels.
    learning_rate : float
        η.
    momentum : float
        β.
    l2 : float
        Strength of the penalty.
    batch_size : int or None
        Examples per update; None means all.
    epochs : int
        Passes over the data.
    shuffle : bool
        Whether each epoch takes the examples in an order of its own.
    seed : int
        Seed of the order.
    input_scale : float
        Factor of integer inputs; floats are not scaled.
    shards : int
        Parts of each batch, which change no exact sum.

    Returns
    -------
    params, velocity : dict of object array of mpf
        The parameters and the velocity after the last epoch.
    losses : list of mpf
        For each epoch, the mean of the losses of its batches, weighted by their sizes. The loss of
        a batch is computed before its update.

    Raises
    ------
    ValueError
        An `x` that does not fit the first layer, another number of labels, or a label that is not a
        class.

    Examples
    --------
    >>> from dataclasses import asdict
    >>> from purenet import Config
    >>> params = {"W1": np.zeros((1, 2)), "b1": np.zeros(2)}
    >>> data = np.array([[0], [255]], np.uint8), np.array([0, 1])
    >>> *_, losses = train(params, data, **asdict(Config(epochs=2)))
    >>> [round(float(value), 4) for value in losses]
    [0.6931, 0.6882]
    """
    x, y = (np.asarray(array) for array in data)
    scale = _exact(input_scale) if x.dtype.kind in "iu" else 1
    velocity = {name: _elementwise(lambda _: _mp.zero, p) for name, p in params.items()}
    losses = []
    for epoch in range(epochs):
        order = np.arange(len(x))
        if shuffle:
            stream = np.random.SeedSequence(seed, spawn_key=(epoch,))
            order = np.random.Generator(np.random.PCG64(stream)).permutation(len(x))
        total = _mp.zero
        for start in range(0, len(x), batch_size or len(x)):
            batch = order[start : start + (batch_size or len(x))]
            x_batch = _elementwise(lambda x_ij: scale * _exact(x_ij), x[batch])
            value, grads = backward(params, x_batch, y[batch], l2=l2)
            params, velocity = momentum_step(
                params, velocity, grads, learning_rate=learning_rate, momentum=momentum
            )
            total += len(batch) * value
        losses.append(total / len(x))
    return params, velocity, losses


def _activations(layers: Sequence[Layer], x_i: Vector) -> list[Vector]:
    """Return [a_0, a_1, ..., a_{L-1}, z_L] of one example."""
    a = [x_i]
    for k, (w, b) in enumerate(layers, start=1):
        z = []
        for q, b_q in enumerate(b):
            z.append(sum((a_p * w_p[q] for a_p, w_p in zip(a[-1], w, strict=True)), start=b_q))
        a.append([max(z_q, Fraction(0)) for z_q in z] if k < len(layers) else z)
    return a


def _others(y_i: int, z: Vector) -> list[int]:
    """Return all classes but the true one."""
    return [j for j in range(len(z)) if j != y_i]


def _examples(layers: Sequence[Layer], x: NDArray[Any]) -> list[Vector]:
    """Return the rows of x, which must fit the first layer."""
    rows, features = _rows(x), len(layers[0][0])
    for x_i in rows:
        if len(x_i) != features:
            raise ValueError(f"x must have {features} features, got {len(x_i)}")
    return rows


def _labels(layers: Sequence[Layer], x: NDArray[Any], y: NDArray[Any]) -> list[int]:
    """Return the labels, each of which must be the index of a class."""
    labels: list[int] = np.asarray(y).tolist()
    classes = len(layers[-1][1])
    if len(labels) != len(x):
        raise ValueError(f"y must hold {len(x)} labels, one per row of x, got {len(labels)}")
    for y_i in labels:
        if y_i not in range(classes):
            raise ValueError(f"y must hold labels from 0 to {classes - 1}, got {y_i}")
    return labels


def _layers(params: Arrays) -> list[Layer]:
    """Return W_k and b_k for k = 1, ..., L, in exact fractions."""
    depth = len(params) // 2
    pairs = [(params[f"W{k}"], params[f"b{k}"]) for k in range(1, depth + 1)]
    return [(_rows(w), [_exact(b_q) for b_q in np.asarray(b).tolist()]) for w, b in pairs]


def _rows(matrix: NDArray[Any]) -> list[Vector]:
    """Return the rows of a matrix in exact fractions."""
    return [[_exact(value) for value in row] for row in np.asarray(matrix).tolist()]


def _exact(value: Number) -> Fraction:
    """Return a finite number of any type without rounding it."""
    if hasattr(value, "_mpf_"):
        numerator, denominator = mpmath.libmp.to_rational(value._mpf_)
        return Fraction(int(numerator), int(denominator))
    return value if isinstance(value, Fraction) else Fraction(*value.as_integer_ratio())


def _mpf(value: Number) -> Real:
    """Round a finite number of any type to 60 digits."""
    numerator, denominator = _exact(value).as_integer_ratio()
    return _mp.mpf(numerator) / denominator


def _exp(value: Fraction) -> Real:
    """Return e to the power of a fraction, to 60 digits."""
    return _mp.exp(_mpf(value))


def _elementwise(f: Callable[..., Number], *arrays: NDArray[Any] | list[Vector]) -> NDArray[Any]:
    """Apply f to the scalars of arrays of one shape, and return an object array."""
    operands = [np.asarray(array, object) for array in arrays]
    out = np.empty(operands[0].shape, object)
    for index in np.ndindex(out.shape):
        out[index] = f(*(operand[index] for operand in operands))
    return out
