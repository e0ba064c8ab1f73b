"""Training on NumPy arrays in place, in buffers that are made once.

A large batch is split into one part per thread. Each thread computes the gradient of its part, with
products of its own; gradients are additive. Then each thread updates its share of the parameters.
How a batch is cut depends on the network, the batch size and the processors, never on the load of
the machine: equal calls give equal bits.

A part larger than a chunk is summed over chunks, so that full batch needs the memory of one chunk.

With `Config.shards` the parts are the shards, and their gradients are added in a binary tree. The
bits then depend neither on the threads nor on the processes that compute them.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from purenet.config import Config
from purenet.engines import CHUNK, cut
from purenet.engines.threads import HeldSignals, processors, serial_blas
from purenet.params import Params, copy, flat_views, is_weight, layers, sizes

__all__ = ["InplaceEngine"]

WORK_PER_THREAD = 20_000_000  # least parameters · examples of a batch: less does not pay

T = TypeVar("T")


class Buffers:
    """What one thread needs to compute gradients of chunks.

    Parameters
    ----------
    examples : int
        Examples in a chunk.
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL.
    x : numpy.ndarray
        The data.
    scratch : numpy.ndarray
        A vector at least as large as the largest W.
    """

    def __init__(
        self, examples: int, params: Params, x: NDArray[Any], scratch: NDArray[Any]
    ) -> None:
        self.raw = np.empty((examples, x.shape[1]), x.dtype)
        self.a = [np.empty((examples, width), scratch.dtype) for width in sizes(params)]
        self.delta = [np.empty_like(a) for a in self.a[1:-1]]
        self.scratch = scratch


class Part(NamedTuple):
    """A part of each batch.

    Parameters
    ----------
    number : int
        The number of the part, from 0.
    gradient : numpy.ndarray
        The vector that the gradient of this part is written into.
    grads : dict of numpy.ndarray
        Views of it.
    buffers : Buffers
        Those of the thread that computes this part.
    """

    number: int
    gradient: NDArray[Any]
    grads: Params
    buffers: Buffers


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
    process, processes : int
        This process, counted from 0, and how many share the parts of each batch. What they must
        exchange is left to a subclass.
    """

    def __init__(
        self,
        params: Params,
        velocity: Params,
        x: NDArray[Any],
        y: NDArray[Any],
        cfg: Config,
        *,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.x, self.y, self.cfg = np.asarray(x), np.asarray(y), cfg
        self.number = params["W1"].dtype.type
        batch = min(cfg.batch_size or len(x), len(x))
        size = sum(p.size for p in params.values())
        self.weights = sum(p.size for name, p in params.items() if is_weight(name))

        threads = max(1, min(processors(), size * batch // processes // WORK_PER_THREAD))
        self.count = threads if cfg.shards == 1 else cfg.shards  # of the parts of a batch
        own = _share(0, self.count, process, processes)
        numbers = range(self.count)[own]
        self.threads = min(threads, len(numbers))
        # The rows are velocity and parameters, the gradient of each part, and intermediate results.
        self.state = np.zeros((3 + len(numbers), size), self.number)
        self.gradients, self.scratch = self.state[2:-1], self.state[-1]
        self.velocity, self.params = (flat_views(row, params) for row in self.state[:2])
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]
        self.examples = min(CHUNK, -(-batch // self.count))  # of a chunk
        largest = max(W.size for W, _ in layers(params))
        self.parts: list[Part] = []
        for i in range(self.threads):
            scratch = np.empty(largest, self.number) if i else self.scratch
            buffers = Buffers(self.examples, self.params, self.x, scratch)
            for number in numbers[_share(0, len(numbers), i, self.threads)]:
                vector = self.gradients[len(self.parts)]
                self.parts.append(Part(number, vector, flat_views(vector, self.params), buffers))

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, as `Engine` says."""
        losses: list[float] = []

        def prepare_thread() -> None:
            serial_blas.limit()
            np.seterr(all="ignore")

        with (
            np.errstate(all="ignore"),  # an overflow shows in the loss
            HeldSignals() as self.signals,
            serial_blas,
            ThreadPoolExecutor(self.threads, initializer=prepare_thread) as self.pool,
        ):
            for batch in cut(rows, self.cfg.batch_size or len(rows)):
                entropies = np.zeros(len(self.parts))
                for start in range(0, -(-len(batch) // self.count), self.examples):
                    self.check_signals()
                    chunk = partial(self._gradient, batch, start)
                    entropies += self._in_threads(chunk, self.parts)
                losses.append(self.combine(entropies) / len(batch) + self._penalty())
                if not math.isfinite(losses[-1]):
                    break
                self._in_threads(self._step, range(self.count))
        return losses

    def snapshot(self) -> tuple[Params, Params]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)

    def check_signals(self) -> None:
        """Call the caller's handler if a signal has come."""
        self.signals.check()

    def combine(self, entropies: NDArray[Any]) -> float:
        """Add the gradients of shards; return the sum of the cross-entropies of all parts."""
        if self.cfg.shards > 1:
            self._in_threads(self._add_by_pairs, range(self.count))
        return sum(entropies.tolist())

    def _in_threads(self, function: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
        """Return the results of a function of each item. This thread takes the first ones."""
        shares = [items[_share(0, len(items), i, self.threads)] for i in range(self.threads)]
        futures = [self.pool.submit(_results, function, share) for share in shares[1:]]
        results = _results(function, shares[0])
        for future in futures:
            results += future.result()
        return results

    def _add_by_pairs(self, i: int) -> None:
        """Add the gradients of shards 0 and 1, of 2 and 3, ..., then these sums by pairs, ...

        The sum takes the place of the first gradient. This call adds share i of each vector.
        """
        rows = self.gradients[:, _share(0, self.scratch.size, i, self.count)]
        while len(rows) > 1:
            rows[::2] += rows[1::2]
            rows = rows[::2]

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
        own, buffers = _share(0, len(batch), part.number, self.count), part.buffers
        rows = batch[own][start : start + self.examples]
        add, n, depth = start > 0, len(rows), len(buffers.a) - 1
        if n == 0:
            part.gradient[:] *= add
            return 0.0
        a, deltas = ([buffer[:n] for buffer in some] for some in (buffers.a, buffers.delta))
        y = self._load(buffers.raw, rows, a[0])
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
                grad = buffers.scratch[: grad_W.size].reshape(grad_W.shape)
                grad_W += np.matmul(a[k - 1].T, delta, out=grad)
                grad_b += delta.sum(axis=0)
            else:
                np.matmul(a[k - 1].T, delta, out=grad_W)
                np.sum(delta, axis=0, out=grad_b)
            if k > 1:
                delta = np.matmul(delta, self.params[f"W{k}"].T, out=deltas[k - 2])
                delta *= a[k - 1] > 0
        return entropy

    def _load(self, buffer: NDArray[Any], rows: Any, out: NDArray[Any]) -> NDArray[Any]:
        """Write these rows of x, converted and scaled, into `out`; return their labels."""
        if isinstance(rows, range):
            rows = slice(rows.start, rows.stop)
            raw = self.x[rows]
        elif self.x.flags.c_contiguous and self.x.flags.aligned:
            # The rows are in range; "clip" only spares a copy.
            raw = np.take(self.x, rows, axis=0, out=buffer[: len(rows)], mode="clip")
        else:  # `take` would copy all of x first
            raw = self.x[rows]
        if raw.dtype.kind == "f":
            np.copyto(out, raw)
        else:  # float16 may hold the product, though not the integers
            wide = np.result_type(out, np.float32)
            np.multiply(raw, self.cfg.input_scale, out=out, dtype=wide)
        return self.y[rows].astype(np.intp)

    def _step(self, i: int) -> None:
        """Take v ← β v + (1 - β) g and p ← p - η v in share i of the parameters."""
        beta, weights, size = self.cfg.momentum, self.weights, self.scratch.size
        rest = self.number(1 - beta)
        summands = 1 if self.cfg.shards > 1 else self.count
        for start, stop, l2 in ((0, weights, self.cfg.l2), (weights, size, 0.0)):
            share = self.state[:, _share(start, stop, i, self.count)]
            v, p, scratch = share[0], share[1], share[-1]
            coefficients = [beta, rest * self.number(l2), *(rest for _ in range(summands))]
            # One product reads every row once.
            np.matmul(np.array(coefficients, p.dtype), share[: 2 + summands], out=scratch)
            v[:] = scratch
            scratch *= self.number(self.cfg.learning_rate)
            p -= scratch


def _results(function: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
    return [function(item) for item in items]


def _share(start: int, stop: int, i: int, count: int) -> slice:
    """Return the i-th of so many shares of a range."""
    n = stop - start
    return slice(start + n * i // count, start + n * (i + 1) // count)


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
