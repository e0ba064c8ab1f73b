"""Training on NumPy arrays, in place, in buffers made once.

Velocity, gradient and parameters are the rows of one matrix, weights before biases, so that the
update is a few calls whatever the depth. The gradient is additive: a batch larger than a chunk is
summed over chunks, and full batch needs the memory of one chunk. What lies between the matrix
products is done by Numba where it is installed, else by NumPy.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from purenet._checks import Array, Params
from purenet.config import Config
from purenet.engines import CHUNK, batches, plain

__all__ = ["NumpyEngine"]


def _kernels(dtype: Any) -> Any:
    """Return the module of the functions between the products."""
    try:
        from purenet.engines import fused  # noqa: PLC0415  # optional, and slow to import
    except ImportError:
        return plain
    return fused if dtype in (np.float32, np.float64) else plain


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
        self.number = dtype = params["W1"].dtype.type
        self.kernels = _kernels(dtype)

        size = sum(p.size for p in params.values())
        self.weights = sum(p.size for p in params.values() if p.ndim == 2)
        self.state, self.scratch = np.empty((3, size), dtype), np.empty(size, dtype)
        self.velocity, self.grads, self.params = (_views(row, params) for row in self.state)
        self.chunk_grads = _views(self.scratch, params)
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]
        self.squares: float = self.kernels.squares(self.state[2, : self.weights])

        rows = min(cfg.batch_size or len(x), CHUNK)
        widths = [self.x.shape[1]] + [params[f"b{k}"].size for k in range(1, self.depth + 1)]
        self.raw = np.empty((rows, widths[0]), self.x.dtype)
        self.a = [np.empty((rows, width), dtype) for width in widths]
        self.delta = [np.empty((rows, width), dtype) for width in widths[1:-1]]
        self.ones = np.ones(rows, dtype)

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
        return (
            {name: self.params[name].copy() for name in self.names},
            {name: self.velocity[name].copy() for name in self.names},
        )

    def _backward(self, batch: Any) -> float:
        """Return the loss, and leave (1 - β) times the gradient of its data part in its row."""
        factor, total = self.number((1 - self.cfg.momentum) / len(batch)), 0.0
        for later, rows in enumerate(batches(batch, CHUNK)):
            total += self._chunk(rows, factor, self.chunk_grads if later else self.grads)
            if later:
                self.state[1] += self.scratch
        return total / len(batch) + 0.5 * self.cfg.l2 * self.squares

    def _chunk(self, rows: Any, factor: Any, grads: Params) -> float:
        """Return the summed cross-entropy of some rows, and write factor times its gradient."""
        n, params, kernels = len(rows), self.params, self.kernels
        a = [buffer[:n] for buffer in self.a]
        y = self._load(rows, a[0])
        for k in range(1, self.depth + 1):
            np.matmul(a[k - 1], params[f"W{k}"], out=a[k])
            if k < self.depth:
                kernels.bias_relu(a[k], params[f"b{k}"])
        logits = a[-1]
        logits += params[f"b{self.depth}"]
        loss = kernels.softmax_minus_labels(logits, y, factor)
        delta = logits
        for k in range(self.depth, 0, -1):
            np.matmul(a[k - 1].T, delta, out=grads[f"W{k}"])
            np.matmul(self.ones[:n], delta, out=grads[f"b{k}"])
            if k > 1:
                delta = np.matmul(delta, params[f"W{k}"].T, out=self.delta[k - 2][:n])
                kernels.mask(delta, a[k - 1])
        return float(loss)

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
            out *= self.number(self.cfg.input_scale)
        return self.y[rows].astype(np.intp)

    def _step(self) -> None:
        """Take v ← β v + (1 - β) g and p ← p - η v; the penalty's part of g is added here."""
        cfg, weights, biases = self.cfg, slice(self.weights), slice(self.weights, None)
        beta, eta = self.number(cfg.momentum), self.number(cfg.learning_rate)
        decay = self.number((1 - cfg.momentum) * cfg.l2)
        update, state, scratch = self.kernels.update, self.state, self.scratch
        self.squares = update(state[:, weights], scratch[weights], beta, decay, eta)
        update(state[:, biases], scratch[biases], beta, self.number(0), eta)


def _views(row: Array, params: Params) -> Params:
    """Return views of a vector, by name and in the shapes of the parameters, weights first."""
    views, start = {}, 0
    for name in sorted(params, key=lambda name: params[name].ndim, reverse=True):
        p = params[name]
        views[name] = row[start : start + p.size].reshape(p.shape)
        start += p.size
    return views
