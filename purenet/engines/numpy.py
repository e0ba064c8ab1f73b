"""Training on NumPy arrays, in place, in buffers made once.

Velocity, gradient and parameters are the rows of one matrix, weights before biases, so that the
update is a few calls whatever the depth. The gradient is additive: a batch larger than a chunk is
summed over chunks, and full batch needs the memory of one chunk.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from purenet._checks import Array, Params
from purenet.config import Config
from purenet.engines import CHUNK, batches, copy

__all__ = ["NumpyEngine", "views"]


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
        self.depth, dtype = len(params) // 2, params["W1"].dtype
        self.number = dtype.type
        self.scale = self.number(cfg.input_scale)

        size = sum(p.size for p in params.values())
        weights = sum(p.size for p in params.values() if p.ndim == 2)
        self.state = np.zeros((4, size), dtype)
        self.velocity, self.sums, self.params = (views(row, params) for row in self.state[:3])
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]
        self.weights, self.biases = self.state[:, :weights], self.state[:, weights:]
        self.scratch = self.state[3]

        n = min(cfg.batch_size or len(x), CHUNK)
        widths = [self.x.shape[1]] + [params[f"b{k}"].size for k in range(1, self.depth + 1)]
        self.raw = np.empty((n, widths[0]), self.x.dtype)
        self.a = [np.empty((n, width), dtype) for width in widths]
        self.delta = [np.empty((n, width), dtype) for width in widths[1:-1]]

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
        return copy(self.params), copy(self.velocity)

    def _backward(self, batch: Any) -> float:
        """Return the loss; have (1 - β) times the gradient of its data part in its sums."""
        # Multiplied into the delta of the logits, 1 - β costs nothing.
        factor, total = self.number((1 - self.cfg.momentum) / len(batch)), 0.0
        for later, rows in enumerate(batches(batch, CHUNK)):
            total += self._chunk(rows, factor, add=later > 0)
        weights = self.weights[2]
        return total / len(batch) + 0.5 * self.cfg.l2 * float(weights @ weights)

    def _chunk(self, rows: Any, factor: Any, *, add: bool) -> float:
        """Return the summed cross-entropy of rows, and sum factor times its gradient."""
        n, params = len(rows), self.params
        a, deltas = [buffer[:n] for buffer in self.a], [buffer[:n] for buffer in self.delta]
        y = self._load(rows, a[0])
        for k in range(1, self.depth + 1):
            np.matmul(a[k - 1], params[f"W{k}"], out=a[k])
            a[k] += params[f"b{k}"]
            if k < self.depth:
                np.maximum(a[k], 0, out=a[k])
        delta = a[-1]
        loss = _softmax_minus_labels(delta, y, factor)
        for k in range(self.depth, 0, -1):
            W, b = self.sums[f"W{k}"], self.sums[f"b{k}"]
            if add:
                grad = self.scratch[: W.size].reshape(W.shape)
                np.matmul(a[k - 1].T, delta, out=grad)
                W += grad
                b += delta.sum(axis=0)
            else:
                np.matmul(a[k - 1].T, delta, out=W)
                np.sum(delta, axis=0, out=b)
            if k > 1:
                later, delta = delta, deltas[k - 2]
                np.matmul(later, params[f"W{k}"].T, out=delta)
                delta *= a[k - 1] > 0
        return loss

    def _load(self, rows: Any, out: Array) -> Array:
        """Write these rows of x, converted and scaled, into `out`, and return their labels."""
        if isinstance(rows, range):
            rows = slice(rows.start, rows.stop)
            raw = self.x[rows]
        elif self.x.flags.c_contiguous:  # the rows are in range; "clip" only spares a copy
            raw = np.take(self.x, rows, axis=0, out=self.raw[: len(rows)], mode="clip")
        else:  # of which `take` would first copy the whole
            raw = self.x[rows]
        np.copyto(out, raw)
        if raw.dtype.kind != "f":
            out *= self.scale
        return self.y[rows].astype(np.intp)

    def _step(self) -> None:
        """Take v ← β v + (1 - β) g and p ← p - η v; the penalty's part of g is added here."""
        decay = (1 - self.cfg.momentum) * self.cfg.l2
        for state, of_p in ((self.weights, decay), (self.biases, 0.0)):
            v, _, p, scratch = state
            # One product of three coefficients with three rows reads them once.
            np.matmul(np.array([self.cfg.momentum, 1, of_p], p.dtype), state[:3], out=scratch)
            v[:] = scratch
            scratch *= self.number(self.cfg.learning_rate)
            p -= scratch


def _softmax_minus_labels(z: Array, y: Array, factor: Any) -> float:
    """Turn z into δ = factor · (softmax(z) - t), and return the sum of the cross-entropies."""
    index, wide = np.arange(len(y)), np.result_type(z.dtype, np.float32)  # float16 ends at 65504
    z -= z.max(axis=1, keepdims=True)
    of_labels = z[index, y].sum(dtype=wide)
    np.exp(z, out=z)
    row = z.sum(axis=1, keepdims=True)
    z *= factor / row
    z[index, y] -= factor
    return float(np.log(row).sum(dtype=wide) - of_labels)


def views(row: Array, params: Params) -> Params:
    """Return views of a vector, in the names, order and shapes of the parameters.

    The vector has W1, ..., WL, b1, ..., bL, whatever their order in the dictionary, so that a run
    goes on from a file to the same bits.
    """
    parts, start = dict(params), 0
    for name in sorted(params, key=lambda name: (name[0], int(name[1:]))):
        p = params[name]
        parts[name] = row[start : start + p.size].reshape(p.shape)
        start += p.size
    return parts
