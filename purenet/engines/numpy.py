"""Training on NumPy arrays, in place, in buffers made once.

Velocity, gradient and parameters are the rows of one matrix, weights before biases, so that the
update is a few calls whatever the depth. The gradient is additive: a batch larger than a chunk is
summed over chunks, and full batch needs the memory of one chunk. What a step is made of is done by
SciPy's BLAS and Numba where they are installed, else by NumPy.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from purenet import _checks
from purenet._checks import Array, Params
from purenet.config import Config
from purenet.engines import CHUNK, batches, copy, plain

__all__ = ["NumpyEngine", "forward"]


def _kernels(dtype: Any) -> Any:
    """Return the module of the functions that a step is made of."""
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
        self.depth, dtype = len(params) // 2, params["W1"].dtype
        self.number, self.kernels = dtype.type, _kernels(dtype)
        self.scale = self.number(cfg.input_scale)

        size = sum(p.size for p in params.values())
        weights = sum(p.size for p in params.values() if p.ndim == 2)
        self.state = np.zeros((len(self.kernels.ROWS), size), dtype)
        rows = dict(zip(self.kernels.ROWS, self.state, strict=True))
        self.velocity, self.params = (_views(rows[row], params) for row in ("velocity", "params"))
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]
        self.sums = _views(rows.get("sums", rows["velocity"]), params)
        self.scratch = rows.get("scratch")
        # Where gradients are summed in the velocity's own row, it is first multiplied by β.
        self.beta = 0.0 if "sums" in rows else cfg.momentum
        self.weights, self.biases = self.state[:, :weights], self.state[:, weights:]
        self.squares: float = self.kernels.squares(rows["params"][:weights])

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
        """Return the loss; add (1 - β) times the gradient of its data part to its sums."""
        # Multiplied into the delta of the logits, 1 - β costs nothing.
        factor, total = self.number((1 - self.cfg.momentum) / len(batch)), 0.0
        for later, rows in enumerate(batches(batch, CHUNK)):
            total += self._chunk(rows, factor, 1.0 if later else self.beta)
        return total / len(batch) + 0.5 * self.cfg.l2 * self.squares

    def _chunk(self, rows: Any, factor: Any, beta: float) -> float:
        """Return the summed cross-entropy of rows, and add factor times its gradient to β sums."""
        n, kernels, params, sums = len(rows), self.kernels, self.params, self.sums
        a, deltas = [buffer[:n] for buffer in self.a], [buffer[:n] for buffer in self.delta]
        y = self._load(rows, a[0])
        for k in range(1, self.depth + 1):
            kernels.product(a[k - 1], params[f"W{k}"], a[k])
            if k < self.depth:
                kernels.bias_relu(a[k], params[f"b{k}"])
        b, sum_b, delta = params[f"b{self.depth}"], sums[f"b{self.depth}"], a[-1]
        loss = kernels.softmax_minus_labels(delta, b, y, factor, sum_b, beta)
        for k in range(self.depth, 0, -1):
            kernels.accumulate(a[k - 1], delta, sums[f"W{k}"], beta, self.scratch)
            if k > 1:
                later, delta = delta, deltas[k - 2]
                kernels.product(later, params[f"W{k}"].T, delta)
                kernels.mask(delta, a[k - 1], sums[f"b{k - 1}"], beta)
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
        if raw.dtype.kind == "f":
            np.copyto(out, raw)
        else:
            # Numba knows no other machine's byte order.
            (self.kernels if raw.dtype.isnative else plain).scaled(raw, self.scale, out)
        return self.y[rows].astype(np.intp)

    def _step(self) -> None:
        """Take v ← β v + (1 - β) g and p ← p - η v; the penalty's part of g is added here."""
        update, cfg = self.kernels.update, self.cfg
        self.squares = update(
            self.weights, cfg.momentum, (1 - cfg.momentum) * cfg.l2, cfg.learning_rate
        )
        update(self.biases, cfg.momentum, 0.0, cfg.learning_rate)


def forward(kernels: Any, params: Params, x: Array) -> Array:
    """Do what `purenet.forward` does by the products of training, those of `_kernels`.

    Where those are SciPy's, the threads of NumPy's products would wait in a pool of their own, and
    slow down the training that goes on after an evaluation.
    """
    a, depth = _checks.examples(params, x), len(params) // 2
    for k in range(1, depth + 1):
        W, b = params[f"W{k}"], params[f"b{k}"]
        z = np.empty((len(a), b.size), a.dtype)
        kernels.product(a, W, z)
        if k < depth:
            kernels.bias_relu(z, b)
        else:
            z += b
        a = z
    return a


def _views(row: Array, params: Params) -> Params:
    """Return views of a vector, in the names, order and shapes of the parameters.

    The vector has W1, ..., WL, b1, ..., bL, whatever their order in the dictionary, so that a run
    goes on from a file to the same bits.
    """
    views, start = dict(params), 0
    for name in sorted(params, key=lambda name: (name[0], int(name[1:]))):
        p = params[name]
        views[name] = row[start : start + p.size].reshape(p.shape)
        start += p.size
    return views
