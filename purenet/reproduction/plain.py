"""The report's algorithm, written in the most direct way, to compare times and losses with.

It computes in float64 and allocates a new array for each result. Each example is a column: x has
shape (features, n), a weight matrix (fan_out, fan_in) and a bias (fan_out, 1).
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.config import Config
from purenet.params import Params

Matrix: TypeAlias = NDArray[Any]


def start(params: Params, x: Matrix) -> tuple[Params, Params, Matrix]:
    """Return a network of purenet and examples (n, features) in these shapes, and zero velocity.

    The order of the results is params, velocity, x.
    """
    columns = {
        name: (p.T if p.ndim == 2 else p[:, None]).astype(float, order="C")
        for name, p in params.items()
    }
    return columns, {name: np.zeros_like(p) for name, p in columns.items()}, x.astype(float).T


def epoch(params: Params, velocity: Params, x: Matrix, y: Matrix, cfg: Config) -> float:
    """Train one epoch in the order of the examples, and write params and velocity.

    Return the mean of the batch losses, each before its update, weighted by the batch sizes.
    """
    n, total = len(y), 0.0
    size = cfg.batch_size or n
    for first in range(0, n, size):
        batch = slice(first, first + size)
        total += step(params, velocity, x[:, batch], y[batch], cfg) * len(y[batch])
    return total / n


def step(params: Params, velocity: Params, x: Matrix, y: Matrix, cfg: Config) -> float:
    """Take one step on a batch, write params and velocity, and return the loss before the step."""
    depth, n = len(params) // 2, x.shape[1]
    a = [x]
    for k in range(1, depth):
        z = np.dot(params[f"W{k}"], a[-1]) + params[f"b{k}"]
        a.append(np.maximum(0, z))
    scores = np.exp(np.dot(params[f"W{depth}"], a[-1]) + params[f"b{depth}"])
    p = scores / np.sum(scores, axis=0, keepdims=True)
    loss: float = float(np.sum(-np.log(p[y, range(n)]))) / n
    loss += 0.5 * cfg.l2 * sum(np.sum(np.square(params[f"W{k}"])) for k in range(1, depth + 1))

    delta = p
    delta[y, range(n)] -= 1
    grads = {}
    for k in range(depth, 0, -1):
        grads[f"W{k}"] = np.dot(delta, a[k - 1].T) / n + cfg.l2 * params[f"W{k}"]
        grads[f"b{k}"] = np.sum(delta, axis=1, keepdims=True) / n
        if k > 1:
            delta = np.dot(params[f"W{k}"].T, delta)
            delta[a[k - 1] <= 0] = 0

    for name, grad in grads.items():
        direction = grad
        if cfg.momentum:  # without momentum the report keeps no moving average
            direction = (1 - cfg.momentum) * grad + cfg.momentum * velocity[name]
            velocity[name] = direction
        params[name] += -cfg.learning_rate * direction
    return loss
