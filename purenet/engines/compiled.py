"""Training on NumPy arrays by compiled workers, a thread each (the extra ``fast``).

Of every layer's inputs a_{k-1}, each of T workers has a block of columns, and so a block of rows of
W_k with their velocity, that nobody else writes, and that stay in the cache of its core. A product
a_{k-1} W_k is the sum of the workers' products: each multiplies its blocks, all wait for all, and
each sums the columns of z_k that are its inputs to the next layer. Behind a layer, δ_{k-1} and the
gradient of W_k are columns and rows of one worker: it computes them from its own block and all of
δ_k, and takes its step. So there are 2 L waits a chunk of examples, and what passes between cores is
as small as activations.
"""

import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload

from purenet._checks import Array, Params
from purenet.config import Config
from purenet.engines import CHUNK, as_input, copy
from purenet.engines.numpy import views
from purenet.engines.threads import serial_blas

__all__ = ["CompiledEngine"]

WORK = 2**34  # multiplications between two looks at signals: some 130 ms
WORTH = 300_000  # parameters · (examples + 16) of a chunk that are worth one more thread
GONE = 2**62  # more than anybody waits for
SPINS = 4096  # some 50 µs: longer than a fair wait, shorter than another program's turn


class Net(NamedTuple):
    """A network and the memory that its workers share."""

    widths: Array  # w_0, ..., w_L
    W: Array  # at k, where W_k starts in the two vectors
    b: Array  # at k, where b_k starts
    params: Array
    velocity: Array
    inputs: Array  # of each worker: its columns of a_0, ..., a_{L-1}
    products: Array  # two in turns, of each worker: its share of z_k
    scratch: Array  # of each worker
    deltas: Array  # δ_k at k % 2
    arrived: Array  # of each worker: the waits that it has come to
    losses: Array  # of each worker: the summed cross-entropy of its examples, and the loss


class Rule(NamedTuple):
    """How a network is trained; what meets its numbers is of their dtype."""

    batch: int  # examples of a batch
    chunk: int  # examples of a chunk
    n: int  # examples of the run
    itemsize: int  # of x: 1 for 8-bit integers, 4 and 8 for floating-point numbers
    scale: Any
    beta: Any
    decay: Any
    eta: Any
    weight: float  # 1 - β: multiplied into δ_L, it costs nothing
    l2: float


def compiled(function: Any) -> Any:
    """Compile a function, and keep the result on disk if there is a place that can be written.

    Sums may be reordered, so that they run in vector registers; NaN and infinity keep their
    meaning.
    """
    options: Any = {"fastmath": {"contract", "nsz", "reassoc"}, "nogil": True}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in the user's home
        return njit(**options)(function)


def fence() -> None:
    """Have all that was written before seen by others, and what others wrote seen after."""


def give_way() -> None:
    """Let another thread run on this core."""
    time.sleep(0)


@intrinsic  # type: ignore[untyped-decorator]
def _fence(_: Any) -> Any:
    def generate(context: Any, builder: Any, *_: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), generate


_give_way = types.ExternalFunction("sched_yield", types.int32()) if os.name == "posix" else _fence
overload(fence)(lambda: lambda: _fence())
overload(give_way)(lambda: lambda: _give_way())


@compiled
def wait(arrived: Array, h: int) -> None:
    """Wait until all workers have come to this place."""
    fence()
    arrived[h, 0] += 1
    for other in range(len(arrived)):
        spins = 0
        while arrived[other, 0] < arrived[h, 0]:
            fence()
            spins += 1
            if spins > SPINS:
                give_way()
    fence()


@compiled
def block(width: int, h: int, workers: int) -> Any:
    """Return where worker h's block of so many columns starts and stops."""
    return width * h // workers, width * (h + 1) // workers


@compiled
def matrix(vector: Array, start: int, rows: int, columns: int) -> Array:
    """Return a view of a part of a vector."""
    return vector[start : start + rows * columns].reshape((rows, columns))


@compiled
def load(x: Array, itemsize: int, rows: Array, start: int, scale: Any, out: Array) -> None:
    """Write columns from `start` on of rows of x, which is given as bytes, converted and scaled."""
    if itemsize == 1:
        convert(x, rows, start, scale, out)
    elif itemsize == 4:
        convert(x.view(np.float32), rows, start, scale, out)
    else:
        convert(x.view(np.float64), rows, start, scale, out)


@compiled
def convert(x: Array, rows: Array, start: int, scale: Any, out: Array) -> None:
    """Write scale · x[rows, start:]."""
    for i in range(len(rows)):
        row, raw = out[i], x[rows[i], start : start + out.shape[1]]
        for j in range(len(row)):
            row[j] = raw[j] * scale


@compiled
def sum_bias_relu(products: Array, b: Array, start: int, a: Array) -> None:
    """Write a = max(Σ_t products_t + b, 0), of columns from `start` on."""
    n, width = a.shape
    for i in range(n):
        row, first = a[i], i * len(b) + start
        for j in range(width):
            row[j] = b[start + j]
        for t in range(len(products) - 1):
            share = products[t, first : first + width]
            for j in range(width):
                row[j] += share[j]
        share = products[-1, first : first + width]
        for j in range(width):
            z = row[j] + share[j]
            row[j] = a.dtype.type(0) if z <= 0 else z


@compiled
def softmax_minus_labels(
    products: Array, b: Array, y: Array, start: int, stop: int, factor: Any, delta: Array
) -> float:
    """Write δ = factor · (softmax(z) - t), z = Σ_t products_t + b, of rows from start to stop.

    Return the sum of their cross-entropies.
    """
    total, classes = 0.0, len(b)
    for i in range(start, stop):
        row, first = delta[i], i * classes
        largest, exponentials = -b.dtype.type(np.inf), b.dtype.type(0)
        for j in range(classes):
            row[j] = b[j]
            for t in range(len(products)):
                row[j] += products[t, first + j]
            largest = max(largest, row[j])
        total += largest - row[y[i]]
        for j in range(classes):
            row[j] = math.exp(row[j] - largest)
            exponentials += row[j]
        total += math.log(exponentials)
        for j in range(classes):
            row[j] *= factor / exponentials
        row[y[i]] -= factor
    return total


@compiled
def mask(back: Array, a: Array, start: int, delta: Array) -> None:
    """Write δ = back ⊙ [a > 0] into columns from `start` on."""
    n, width = a.shape
    for i in range(n):
        row, of_a, of_back = delta[i, start : start + width], a[i], back[i]
        for j in range(width):
            row[j] = of_back[j] if of_a[j] > 0 else a.dtype.type(0)


@compiled
def sum_rows(delta: Array, start: int, total: Array) -> None:
    """Write Σ_i δ_i, of columns from `start` on."""
    for j in range(len(total)):
        total[j] = 0
    for i in range(len(delta)):
        row = delta[i, start : start + len(total)]
        for j in range(len(total)):
            total[j] += row[j]


@compiled
def descend(v: Array, g: Array, p: Array, beta: Any, decay: Any, eta: Any, last: Any) -> None:
    """Take v ← β v + g, and, with the last part of g, v ← v + decay p and p ← p - η v."""
    if last:
        for i in range(len(p)):
            step = beta * v[i] + g[i] + decay * p[i]
            v[i] = step
            p[i] -= eta * step
    else:
        for i in range(len(p)):
            v[i] = beta * v[i] + g[i]


@compiled
def squares(p: Array) -> Any:
    """Return Σ p²."""
    total = p.dtype.type(0)
    for i in range(len(p)):
        total += p[i] * p[i]
    return total


@compiled
def forward(h: int, net: Net, n: int) -> None:
    """Have the workers' shares of z_L in `products`, from a_0 of n examples."""
    depth, workers, at = len(net.widths) - 1, len(net.arrived), 0
    for k in range(1, depth + 1):
        width = net.widths[k]
        start, stop = block(net.widths[k - 1], h, workers)
        a = matrix(net.inputs[h], at, n, stop - start)
        W = matrix(net.params, net.W[k] + start * width, stop - start, width)
        products = net.products[k % 2]
        np.dot(a, W, matrix(products[h], 0, n, width))
        wait(net.arrived, h)
        if k < depth:
            at += a.size
            start, stop = block(width, h, workers)
            b = net.params[net.b[k] : net.b[k] + width]
            sum_bias_relu(products, b, start, matrix(net.inputs[h], at, n, stop - start))


@compiled
def objective(h: int, net: Net, rule: Rule, y: Array, batch: int, first: Any, last: Any) -> float:
    """Write δ_L of a chunk, and return the loss of the batch if this is the last of its chunks."""
    depth, workers, n = len(net.widths) - 1, len(net.arrived), len(y)
    width, mine = net.widths[depth], net.losses[h]
    start, stop = block(n, h, workers)
    factor = net.params.dtype.type(rule.weight / batch)
    b = net.params[net.b[depth] : net.b[depth] + width]
    delta = matrix(net.deltas[depth % 2], 0, n, width)
    total = softmax_minus_labels(net.products[depth % 2], b, y, start, stop, factor, delta)
    mine[0] = total if first else mine[0] + total
    if last:
        penalty = 0.0
        for k in range(1, depth + 1):
            start, stop = block(net.widths[k - 1], h, workers)
            at, width = net.W[k], net.widths[k]
            penalty += squares(net.params[at + start * width : at + stop * width])
        mine[1] = mine[0] / batch + 0.5 * rule.l2 * penalty
    wait(net.arrived, h)
    loss = 0.0
    if last:
        for t in range(workers):
            loss += net.losses[t, 1]
    return loss


@compiled
def backward(h: int, net: Net, rule: Rule, n: int, first: Any, last: Any) -> None:
    """Add gradients to the velocity, and take the step with the last chunk of a batch."""
    depth, workers, at = len(net.widths) - 1, len(net.arrived), 0
    beta = rule.beta if first else net.params.dtype.type(1)
    for k in range(1, depth):
        start, stop = block(net.widths[k - 1], h, workers)
        at += n * (stop - start)
    for k in range(depth, 0, -1):
        width, before = net.widths[k], net.widths[k - 1]
        start, stop = block(before, h, workers)
        a = matrix(net.inputs[h], at, n, stop - start)
        delta = matrix(net.deltas[k % 2], 0, n, width)
        mine = slice(net.W[k] + start * width, net.W[k] + stop * width)
        p, v = net.params[mine], net.velocity[mine]
        if k > 1:
            back = matrix(net.scratch[h], 0, n, stop - start)
            np.dot(delta, p.reshape((stop - start, width)).T, back)
            mask(back, a, start, matrix(net.deltas[(k - 1) % 2], 0, n, before))
            left, right = block(net.widths[k - 2], h, workers)
            at -= n * (right - left)
        g = net.scratch[h, : len(p)]
        np.dot(a.T, delta, g.reshape((stop - start, width)))
        descend(v, g, p, beta, rule.decay, rule.eta, last)
        start, stop = block(width, h, workers)
        mine, g = slice(net.b[k] + start, net.b[k] + stop), net.scratch[h, : stop - start]
        sum_rows(delta, start, g)
        zero = net.params.dtype.type(0)
        descend(net.velocity[mine], g, net.params[mine], beta, zero, rule.eta, last)
        if k > 1:
            wait(net.arrived, h)


@compiled
def work(
    h: int, net: Net, rule: Rule, x: Array, rows: Array, y: Array, start: int, losses: Array
) -> None:
    """Do worker h's part of training on rows of x, from place `start` of a run on."""
    done = 0
    while done < len(rows):
        within = (start + done) % rule.batch  # a place in its batch
        batch = min(rule.batch, rule.n - (start + done - within))
        n = min(rule.chunk, batch - within)
        first, last = within == 0, within + n == batch
        left, right = block(net.widths[0], h, len(net.arrived))
        a = matrix(net.inputs[h], 0, n, right - left)
        load(x, rule.itemsize, rows[done : done + n], left, rule.scale, a)
        forward(h, net, n)
        loss = objective(h, net, rule, y[done : done + n], batch, first, last)
        if h == 0 and last:
            losses[(start + done) // rule.batch] = loss
        if not math.isfinite(loss):
            break
        backward(h, net, rule, n, first, last)
        done += n


class CompiledEngine:
    """Do what `PureEngine` does, up to rounding, in threads and without allocating arrays.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL, float32 or float64.
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
        self.x, self.y, self.cfg, dtype = np.asarray(x), np.asarray(y), cfg, params["W1"].dtype
        depth = len(params) // 2
        widths = [self.x.shape[1], *(params[f"b{k}"].size for k in range(1, depth + 1))]
        layers = [before * width for before, width in pairwise(widths)]
        starts = np.cumsum([0, 0, *layers, *widths[1:]])  # the first stands for k = 0
        n, size = min(cfg.batch_size or len(x), CHUNK), int(starts[-1])
        with serial_blas as threads:
            workers = max(1, min(threads, size * (n + 16) // WORTH))

        most = [-(-width // workers) for width in widths]  # columns of one worker
        scratch = max(n * max(most), *(a * b for a, b in zip(most, widths[1:], strict=False)))
        self.net = Net(
            np.array(widths),
            starts[: depth + 1],
            starts[depth:-1],
            *np.zeros((2, size), dtype),
            np.empty((workers, n * sum(most[:-1])), dtype),
            np.empty((2, workers, n * max(widths[1:])), dtype),
            np.empty((workers, scratch), dtype),
            np.empty((2, n * max(widths[1:])), dtype),
            np.zeros((workers, 8), np.int64),  # a line of the cache for each
            np.zeros((workers, 8)),
        )
        self.params, self.velocity = (
            views(vector, params) for vector in (self.net.params, self.net.velocity)
        )
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows; see `Engine`."""
        n = len(rows)
        size = self.cfg.batch_size or n
        losses = np.zeros(-(-n // size))
        with serial_blas, ThreadPoolExecutor(len(self.net.arrived)) as pool:
            for start, stop in self._slices(n, size):
                index = np.asarray(rows[start:stop], np.int64)
                self._together(pool, index, n, start, losses)
                wrong = np.flatnonzero(~np.isfinite(losses))
                if wrong.size:
                    losses = losses[: wrong[0] + 1]
                    break
        return losses.tolist()

    def snapshot(self) -> tuple[Params, Params]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)

    def _slices(self, n: int, size: int) -> Iterator[tuple[int, int]]:
        """Cut a run into slices of whole chunks that take little time, so that signals are seen."""
        chunk = min(size, CHUNK)
        length = chunk * max(1, WORK // (3 * chunk * len(self.net.params)))
        whole = n if size == chunk else size
        for batch in range(0, n, whole):
            stop = min(batch + whole, n)
            for start in range(batch, stop, length):
                yield start, min(start + length, stop)

    def _together(self, pool: ThreadPoolExecutor, rows: Array, n: int, start: int, losses: Array) -> None:
        """Train on a slice of a run of n examples, all workers at once."""
        cfg, net, number = self.cfg, self.net, self.net.params.dtype.type
        x, y = self.x, self.y[rows].astype(np.intp)
        direct = x.dtype == np.uint8 or x.dtype in (np.float32, np.float64)
        if not (direct and x.flags.c_contiguous and x.flags.aligned):
            x = as_input(self.params, x[rows], cfg.input_scale)
            x, rows = np.ascontiguousarray(x, number), np.arange(len(rows))
        raw = x.view(np.uint8)
        raw.flags.writeable = False  # as those of a file may be: one type is compiled once
        rule = Rule(
            cfg.batch_size or n,
            CHUNK,
            n,
            x.itemsize,
            number(cfg.input_scale if x.itemsize == 1 else 1),
            number(cfg.momentum),
            number((1 - cfg.momentum) * cfg.l2),
            number(cfg.learning_rate),
            1 - cfg.momentum,
            cfg.l2,
        )
        net.arrived[:] = 0

        def one(h: int) -> None:
            try:
                work(h, net, rule, raw, rows, y, start, losses)
            finally:
                net.arrived[h] = GONE  # so that nobody waits for one that has left

        try:
            futures = [pool.submit(one, h) for h in range(1, len(net.arrived))]
            one(0)
        finally:
            net.arrived[0] = GONE
        for future in futures:
            future.result()
