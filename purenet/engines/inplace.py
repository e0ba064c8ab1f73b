"""Training on NumPy arrays in place, in buffers that are made once.

A large batch is split into one part per thread. Each thread computes the gradient of its part, with
products of its own; gradients are additive. Then each thread updates its share of the parameters.
How a batch is cut depends on the network, the batch size and the processors, never on the load of
the machine: equal calls give equal bits.

A part larger than a chunk is summed over chunks, so that full batch needs the memory of one chunk.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purenet.config import Config
from purenet.engines import CHUNK, cut
from purenet.engines.threads import HeldSignals, processors, serial_blas
from purenet.params import Params, copy, flat_views, is_weight, layers, sizes

__all__ = ["InplaceEngine"]

WORK_PER_THREAD = 20_000_000  # least parameters · examples of a batch: less does not pay


class Part:
    """The part of each batch, and of the parameters, that one thread computes.

    Parameters
    ----------
    number, count : int
        This part, counted from 0, and how many there are.
    examples : int
        Examples in a chunk.
    gradient : numpy.ndarray
        The vector that the gradient of this part is written into.
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    x : numpy.ndarray
        The data.
    """

    def __init__(
        self,
        number: int,
        count: int,
        examples: int,
        gradient: NDArray[Any],
        params: Params,
        x: NDArray[Any],
    ) -> None:
        self.number, self.count = number, count
        self.gradient, self.grads = gradient, flat_views(gradient, params)
        self.raw = np.empty((examples, x.shape[1]), x.dtype)
        self.a = [np.empty((examples, width), gradient.dtype) for width in sizes(params)]
        self.delta = [np.empty_like(a) for a in self.a[1:-1]]
        largest = max(*(W.size for W, _ in layers(params)), -(-gradient.size // count))
        self.scratch = np.empty(largest, gradient.dtype)

    def share(self, start: int, stop: int) -> slice:
        """Return the share of this part in a range."""
        n = stop - start
        return slice(
            start + n * self.number // self.count, start + n * (self.number + 1) // self.count
        )


class InplaceEngine:
    """Compute what `ReferenceEngine` computes, up to rounding, without allocating a step's arrays.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    velocity : dict of numpy.ndarray
        Arrays of the shapes of the parameters.
    x : numpy.ndarray, shape (n, features)
        Examples, integer or floating-point.
    y : numpy.ndarray, shape (n,)
        Integer labels.
    cfg : Config
        Hyperparameters.
    """

    def __init__(
        self, params: Params, velocity: Params, x: NDArray[Any], y: NDArray[Any], cfg: Config
    ) -> None:
        self.x, self.y, self.cfg = np.asarray(x), np.asarray(y), cfg
        self.number = params["W1"].dtype.type
        batch = min(cfg.batch_size or len(x), len(x))
        size = sum(p.size for p in params.values())
        self.weights = sum(p.size for name, p in params.items() if is_weight(name))

        count = max(1, min(processors(), size * batch // WORK_PER_THREAD))
        # The rows are the velocity, the gradient of each part, and the parameters.
        self.state = np.zeros((count + 2, size), self.number)
        self.velocity, self.params = (flat_views(self.state[i], params) for i in (0, -1))
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]
        self.examples = min(CHUNK, -(-batch // count))  # of a chunk
        self.parts = [
            Part(i, count, self.examples, self.state[1 + i], self.params, self.x)
            for i in range(count)
        ]

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, as `Engine` says."""
        losses: list[float] = []

        def prepare_thread() -> None:
            serial_blas.limit()
            np.seterr(all="ignore")

        with (
            np.errstate(all="ignore"),  # an overflow shows in the loss
            HeldSignals() as signals,
            serial_blas,
            ThreadPoolExecutor(len(self.parts), initializer=prepare_thread) as pool,
        ):
            for batch in cut(rows, self.cfg.batch_size or len(rows)):
                entropy = 0.0
                for start in range(0, -(-len(batch) // len(self.parts)), self.examples):
                    signals.check()
                    chunk = partial(self._gradient, batch, start)
                    entropy += sum(self._in_threads(pool, chunk))
                losses.append(entropy / len(batch) + self._penalty())
                if not math.isfinite(losses[-1]):
                    break
                self._in_threads(pool, self._step)
        return losses

    def snapshot(self) -> tuple[Params, Params]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)

    def _in_threads(self, pool: ThreadPoolExecutor, function: Callable[[Part], Any]) -> list[Any]:
        """Return the results of a function of each part. This thread takes the first part."""
        futures = [pool.submit(function, part) for part in self.parts[1:]]
        return [function(self.parts[0]), *(future.result() for future in futures)]

    def _penalty(self) -> float:
        """Return ½ l2 Σ_k ‖W_k‖². Without l2 it is 0, even if the squares overflow."""
        if self.cfg.l2 == 0:
            return 0.0
        squares = sum(float(np.vdot(W, W)) for W, _ in layers(self.params))
        return 0.5 * self.cfg.l2 * squares

    def _gradient(self, batch: Any, start: int, part: Part) -> float:
        """Add the gradient of the data term on the chunk of a part that begins at `start`.

        Return the sum of the cross-entropies of the chunk. The first chunk of a batch overwrites
        the gradient of the batch before.
        """
        rows = batch[part.share(0, len(batch))][start : start + self.examples]
        add, n, depth = start > 0, len(rows), len(part.a) - 1
        if n == 0:
            part.gradient *= add
            return 0.0
        a, deltas = [buffer[:n] for buffer in part.a], [buffer[:n] for buffer in part.delta]
        y = self._load(part, rows, a[0])
        for k, (W, b) in enumerate(layers(self.params), start=1):
            np.matmul(a[k - 1], W, out=a[k])
            a[k] += b
            if k < depth:
                a[k] *= a[k] > 0
        delta = a[-1]
        entropy = _softmax_minus_labels(delta, y, len(batch))
        for k in range(depth, 0, -1):
            grad_W, grad_b = part.grads[f"W{k}"], part.grads[f"b{k}"]
            if add:
                grad = part.scratch[: grad_W.size].reshape(grad_W.shape)
                grad_W += np.matmul(a[k - 1].T, delta, out=grad)
                grad_b += delta.sum(axis=0)
            else:
                np.matmul(a[k - 1].T, delta, out=grad_W)
                np.sum(delta, axis=0, out=grad_b)
            if k > 1:
                delta = np.matmul(delta, self.params[f"W{k}"].T, out=deltas[k - 2])
                delta *= a[k - 1] > 0
        return entropy

    def _load(self, part: Part, rows: Any, out: NDArray[Any]) -> NDArray[Any]:
        """Write these rows of x, converted and scaled, into `out`; return their labels."""
        if isinstance(rows, range):
            rows = slice(rows.start, rows.stop)
            raw = self.x[rows]
        elif self.x.flags.c_contiguous and self.x.flags.aligned:
            # The rows are in range; "clip" only spares a copy.
            raw = np.take(self.x, rows, axis=0, out=part.raw[: len(rows)], mode="clip")
        else:  # `take` would copy all of x first
            raw = self.x[rows]
        if raw.dtype.kind == "f":
            np.copyto(out, raw)
        else:  # float16 may hold the product, though not the integers
            wide = np.result_type(out, np.float32)
            np.multiply(raw, self.cfg.input_scale, out=out, dtype=wide)
        return self.y[rows].astype(np.intp)

    def _step(self, part: Part) -> None:
        """Take v ← β v + (1 - β) g and p ← p - η v in this part's share of the parameters."""
        beta, weights, size = self.cfg.momentum, self.weights, self.state.shape[1]
        rest = self.number(1 - beta)
        for start, stop, l2 in ((0, weights, self.cfg.l2), (weights, size, 0.0)):
            share = self.state[:, part.share(start, stop)]
            v, p, scratch = share[0], share[-1], part.scratch[: share.shape[1]]
            coefficients = [beta, *(rest for _ in self.parts), rest * self.number(l2)]
            # One product reads every row once.
            np.matmul(np.array(coefficients, p.dtype), share, out=scratch)
            v[:] = scratch
            scratch *= self.number(self.cfg.learning_rate)
            p -= scratch


def _softmax_minus_labels(z: NDArray[Any], y: NDArray[Any], n: int) -> float:
    """Turn z into δ = (softmax(z) - t) / n; return the sum of the cross-entropies."""
    index = np.arange(len(y))
    wide = np.result_type(z.dtype, np.float32)  # sums of float16 overflow above 65504
    z -= z.max(axis=1, keepdims=True)
    of_labels = z[index, y].sum(dtype=wide)
    np.exp(z, out=z)
    row = z.sum(axis=1, keepdims=True)
    z /= row
    z[index, y] -= 1
    z /= n
    return float(np.log(row).sum(dtype=wide) - of_labels)
