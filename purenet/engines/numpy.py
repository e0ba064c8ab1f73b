"""Training on NumPy arrays, in place, in buffers made once.

Parameters, velocity and gradients are views into flat vectors, weights before biases, so that the
penalty and the update are a few calls whatever the depth. The gradient is additive: a batch larger
than a chunk is summed over chunks, so full batch needs the memory of one chunk.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from purenet._checks import Array, Params
from purenet.config import Config
from purenet.engines import CHUNK, batches

__all__ = ["NumpyEngine"]


class NumpyEngine:
    """Do what `PureEngine` does, up to rounding, without allocating a step's arrays.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    velocity : dict of numpy.ndarray
        Shaped like the parameters.
    x : numpy.ndarray, shape (n, features)
        Examples, integer or floating-point.
    y : numpy.ndarray, shape (n,)
        Integer labels.
    cfg : Config
        Hyperparameters.
    """

    def __init__(self, params: Params, velocity: Params, x: Array, y: Array, cfg: Config) -> None:
        self.x, self.y, self.cfg = np.asarray(x), np.asarray(y), cfg
        self.names, self.depth = list(params), len(params) // 2
        self.p, self.params = _flatten(params)
        self.v, self.velocity = _flatten(velocity)
        self.g, self.grads = _flatten(params)
        self.scratch, self.chunk_grads = _flatten(params)
        self.weights = slice(sum(p.size for p in params.values() if p.ndim == 2))

        rows, dtype = min(cfg.batch_size or len(x), len(x), CHUNK), self.p.dtype
        widths = [self.x.shape[1]] + [params[f"b{k}"].size for k in range(1, self.depth + 1)]
        self.raw = np.empty((rows, widths[0]), self.x.dtype)
        self.a = [np.empty((rows, width), dtype) for width in widths]
        self.delta = [np.empty((rows, width), dtype) for width in widths[1:-1]]
        self.ones, self.index = np.ones(rows, dtype), np.arange(rows)

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows; see `Engine`."""
        losses: list[float] = []
        with np.errstate(all="ignore"):  # an overflow shows in the loss
            for batch in batches(rows, self.cfg.batch_size or len(rows)):
                losses.append(self._backward(batch))
                if not math.isfinite(losses[-1]):
                    break
                self._step()
        return losses

    def snapshot(self) -> tuple[Params, Params]:
        """Return copies of parameters and velocity."""
        params = {name: self.params[name].copy() for name in self.names}
        return params, {name: self.velocity[name].copy() for name in self.names}

    def _backward(self, batch: Any) -> float:
        """Return the loss, and leave (1 - β) times the gradient of its data part in `self.g`."""
        factor, total = (1 - self.cfg.momentum) / len(batch), 0.0
        for first, rows in enumerate(batches(batch, CHUNK)):
            total += self._chunk(rows, factor, self.chunk_grads if first else self.grads)
            if first:
                self.g += self.scratch
        W = self.p[self.weights]
        return total / len(batch) + 0.5 * self.cfg.l2 * float(W @ W)

    def _chunk(self, rows: Any, factor: float, grads: Params) -> float:
        """Return the summed cross-entropy of some rows, and write factor times its gradient."""
        n, params = len(rows), self.params
        a = [buffer[:n] for buffer in self.a]
        y = self._load(rows, a[0])
        for k in range(1, self.depth + 1):
            z = np.matmul(a[k - 1], params[f"W{k}"], out=a[k])
            z += params[f"b{k}"]
            if k < self.depth:
                np.maximum(z, 0, out=z)
        value = _softmax_minus_labels(a[-1], self.index[:n], y)
        delta = a[-1]
        delta *= factor
        for k in range(self.depth, 0, -1):
            np.matmul(a[k - 1].T, delta, out=grads[f"W{k}"])
            np.matmul(self.ones[:n], delta, out=grads[f"b{k}"])
            if k > 1:
                delta = np.matmul(delta, params[f"W{k}"].T, out=self.delta[k - 2][:n])
                delta *= a[k - 1] > 0
        return value

    def _load(self, rows: Any, out: Array) -> Array:
        """Write these rows of x, converted and scaled, into `out`, and return their labels."""
        if isinstance(rows, range):
            rows = slice(rows.start, rows.stop)
            raw = self.x[rows]
        else:  # the rows are in range; "clip" only spares a copy
            raw = np.take(self.x, rows, axis=0, out=self.raw[: len(rows)], mode="clip")
        if raw.dtype.kind == "f":
            np.copyto(out, raw, casting="same_kind")
        else:
            np.copyto(out, raw, casting="unsafe")
            out *= self.cfg.input_scale
        return self.y[rows]

    def _step(self) -> None:
        """Take v ← β v + (1 - β) g and p ← p - η v; (1 - β) is in `self.g`, the penalty is not."""
        cfg, W = self.cfg, self.weights
        self.v *= cfg.momentum
        self.v += self.g
        np.multiply(self.p[W], (1 - cfg.momentum) * cfg.l2, out=self.scratch[W])
        self.v[W] += self.scratch[W]
        np.multiply(self.v, cfg.learning_rate, out=self.scratch)
        self.p -= self.scratch


def _softmax_minus_labels(z: Array, index: Array, y: Array) -> float:
    """Turn logits z into softmax(z) - t in place, and return the sum of their cross-entropies."""
    z -= z.max(axis=1, keepdims=True)
    correct = z[index, y]
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    z /= total
    z[index, y] -= 1
    return float(np.log(total).sum() - correct.sum())


def _flatten(params: Params) -> tuple[Array, Params]:
    """Copy parameters into one vector, weights first; return it, and views of it by name."""
    names = sorted(params, key=lambda name: params[name].ndim, reverse=True)
    flat = np.concatenate([params[name].ravel() for name in names])
    pieces = np.split(flat, np.cumsum([params[name].size for name in names])[:-1])
    views = {n: piece.reshape(params[n].shape) for n, piece in zip(names, pieces, strict=True)}
    return flat, views
