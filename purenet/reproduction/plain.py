"""The report's algorithm as one writes it down first: float64, a column per example, new arrays.

It is here to be compared with, in time and in its losses.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.config import Config
from purenet.params import Array, Params

__all__ = ["epoch", "start", "step"]

Matrix = NDArray[Any]


def start(params: Params, x: Array) -> tuple[Params, Params, Matrix]:
    """Turn a network and examples round: weights (fan_out, fan_in), one example per column.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL, as elsewhere in purenet.
    x : numpy.ndarray, shape (n, features)
        Pixels.

    Returns
    -------
    params, velocity : dict of numpy.ndarray
        The transposed network in float64, and zeros.
    x : numpy.ndarray, shape (features, n)
        The examples in float64.
    """
    turned = {
        name: (p.T if p.ndim == 2 else p[:, None]).astype(float, order="C")
        for name, p in params.items()
    }
    return turned, {name: np.zeros_like(p) for name, p in turned.items()}, x.astype(float).T


def epoch(params: Params, velocity: Params, x: Matrix, y: Matrix, cfg: Config) -> float:
    """Train one epoch, examples as they lie, and return its mean loss.

    Parameters
    ----------
    params, velocity : dict of numpy.ndarray
        From `start`; they are written.
    x : numpy.ndarray, shape (features, n)
        From `start`.
    y : numpy.ndarray, shape (n,)
        Labels.
    cfg : Config
        Hyperparameters.

    Returns
    -------
    float
        Mean of the batches' losses, weighted by their sizes, each before its update.
    """
    n, total = len(y), 0.0
    size = cfg.batch_size or n
    for first in range(0, n, size):
        batch = slice(first, first + size)
        total += step(params, velocity, x[:, batch], y[batch], cfg) * len(y[batch])
    return total / n


def step(params: Params, velocity: Params, x: Matrix, y: Matrix, cfg: Config) -> float:
    """Take one step on a batch, and return its loss.

    Parameters
    ----------
    params, velocity : dict of numpy.ndarray
        From `start`; they are written.
    x : numpy.ndarray, shape (features, batch)
        Examples in float64.
    y : numpy.ndarray, shape (batch,)
        Labels.
    cfg : Config
        Hyperparameters.

    Returns
    -------
    float
        The loss before the step.
    """
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
        if cfg.momentum:  # the report's runs without momentum keep no average
            direction = (1 - cfg.momentum) * grad + cfg.momentum * velocity[name]
            velocity[name] = direction
        params[name] += -cfg.learning_rate * direction
    return loss
