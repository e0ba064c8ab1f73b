"""The whole of purenet in plain NumPy: the program that `mutants` makes mistakes in.

It is right, and obeys every law. `init`, `forward`, `loss`, `backward`, `momentum_step` and `train`
compute what purenet's functions compute, for NumPy arrays alone, in the plainest way. `train` takes
no validation data, and goes on when it diverges.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from purenet import Config, State, TrainResult, init_velocity
from purenet.params import (
    Params,
    check_examples,
    check_labels,
    check_matching,
    check_number,
    check_params,
    copy,
    layers,
)

Array: TypeAlias = NDArray[Any]


def init(
    sizes: Sequence[int], *, seed: int = 0, scale: str | float = "he", dtype: DTypeLike = "f4"
) -> Params:
    """Return normal weights, and biases of 0."""
    rng = np.random.default_rng(seed)
    params = {}
    for k, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1):
        s = math.sqrt(2 / fan_in) if scale == "he" else float(scale)
        params[f"W{k}"] = (s * rng.standard_normal((fan_in, fan_out))).astype(dtype)
        params[f"b{k}"] = np.zeros(fan_out, dtype)
    return params


def relu(z: Array) -> Array:
    """Return max(z, 0), and NaN for NaN."""
    a: Array = np.where(z <= 0, 0, z)
    return a


def log_softmax(z: Array) -> Array:
    """Return the logarithms of the probabilities."""
    z = z - z.max(axis=1, keepdims=True)
    log_p: Array = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return log_p


def softmax(z: Array) -> Array:
    """Return the probabilities."""
    return np.exp(log_softmax(z))


def activations(params: Params, x: Array) -> tuple[list[Array], list[Array]]:
    """Return the inputs a_0, ..., a_{L-1} of the layers, and x, z_1, ..., z_L."""
    check_params(params)
    check_examples(params, x)
    *hidden, (W_L, b_L) = layers(params)
    a = [x.astype(W_L.dtype)]
    z = [a[0]]
    for W, b in hidden:
        z.append(a[-1] @ W + b)
        a.append(relu(z[-1]))
    logits = a[-1] @ W_L + b_L
    return a, [*z, logits]


def forward(params: Params, x: Array) -> Array:
    """Return the logits."""
    return activations(params, x)[1][-1]


def loss(params: Params, x: Array, y: Array, *, l2: float = 0.0) -> Any:
    """Return the mean cross-entropy with the penalty."""
    log_p = log_softmax(forward(params, x))
    check_labels(params, y, len(x))
    l2 = check_number("l2", l2)
    data = -log_p[np.arange(len(y)), y].mean()
    penalty = sum(0.5 * l2 * (W * W).sum() for W, _ in layers(params))
    return data + penalty


def backward(params: Params, x: Array, y: Array, *, l2: float = 0.0) -> tuple[Any, Params]:
    """Return the loss and its gradient."""
    value = loss(params, x, y, l2=l2)
    l2 = float(l2)
    a, z = activations(params, x)
    t = np.eye(z[-1].shape[1], dtype=z[-1].dtype)[y]
    delta = (softmax(z[-1]) - t) / len(x)
    grads = dict(params)  # for the order of the names
    for k in range(len(a), 0, -1):
        W = params[f"W{k}"]
        grads[f"W{k}"] = a[k - 1].T @ delta + l2 * W
        grads[f"b{k}"] = delta.sum(axis=0)
        if k > 1:
            delta = (delta @ W.T) * (z[k - 1] > 0)
    return value, grads


def momentum_step(
    params: Params, velocity: Params, grads: Params, *, learning_rate: float, momentum: float
) -> tuple[Params, Params]:
    """Return parameters and velocity after a step."""
    check_matching(params, velocity=velocity, grads=grads)
    eta = check_number("learning_rate", learning_rate)
    beta = check_number("momentum", momentum, below=1)
    new_params, new_velocity = {}, {}
    for name, p in params.items():
        v, g = velocity[name], grads[name]
        new_v = beta * v + (1 - beta) * g
        new_params[name] = p - eta * new_v
        new_velocity[name] = new_v
    return new_params, new_velocity


def scaled(x: Array, cfg: Config) -> Array:
    """Return the input of the network: integers are scaled."""
    return x * cfg.input_scale if x.dtype.kind in "iu" else x


def over_shards(params: Params, x: Array, y: Array, cfg: Config) -> tuple[Any, Params]:
    """Return the loss and its gradient as sums over the shards of a batch."""
    parts = []
    for i in range(cfg.shards):
        rows = slice(len(x) * i // cfg.shards, len(x) * (i + 1) // cfg.shards)
        value, grads = backward(params, x[rows], y[rows], l2=cfg.l2)
        weight = (rows.stop - rows.start) / len(x)
        parts.append({name: weight * g for name, g in {"loss": value, **grads}.items()})
    while len(parts) > 1:
        parts = list(map(added, parts[::2], parts[1::2]))
    grads = parts[0]
    return grads.pop("loss"), grads


def added(one: Params, other: Params) -> Params:
    """Return sums of the arrays of two dictionaries."""
    return {name: a + other[name] for name, a in one.items()}


def train(
    params: Params, data: tuple[Array, Array], cfg: Config, *, state: State | None = None
) -> TrainResult:
    """Return the parameters, the state and the history after training."""
    x, y = data
    n, size = len(x), cfg.batch_size or len(x)
    velocity, done = state[:2] if state else (init_velocity(params), 0)
    params, velocity = copy(params), copy(velocity)
    history = []
    for e in range(done, cfg.epochs):
        stream = np.random.SeedSequence(cfg.seed, spawn_key=(e,))
        order = np.random.Generator(np.random.PCG64(stream)).permutation(n)
        losses, weights = [], []
        for start in range(0, n, size):
            rows = order[start : start + size] if cfg.shuffle else slice(start, start + size)
            x_batch, y_batch = scaled(x[rows], cfg), y[rows]
            value, grads = over_shards(params, x_batch, y_batch, cfg)
            rates = {"learning_rate": cfg.learning_rate, "momentum": cfg.momentum}
            params, velocity = momentum_step(params, velocity, grads, **rates)
            losses.append(value)
            weights.append(len(x_batch))
        history.append({"epoch": e + 1, "loss": float(np.average(losses, weights=weights))})
    return TrainResult(params, State(velocity, max(cfg.epochs, done)), history)
