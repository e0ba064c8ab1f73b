"""Training on NumPy arrays by compiled workers, a thread each (the extra ``fast``).

Batches up to a chunk are worked on together. Of every layer's inputs a_{k-1}, each worker has a
block of columns, and so a block of rows of W_k with their velocity, that nobody else writes, and
that stay in the cache of its core. A product a_{k-1} W_k is the sum of the workers' products: each
multiplies its blocks, all wait for all, and each sums the columns of z_k that are its inputs to the
next layer. Behind a layer, columns of δ_{k-1} and rows of the gradient of W_k are one worker's: it
computes them from its own block and all of δ_k, and takes its step. That is 2 L waits a batch, and
no more than activations passes between cores.

Of larger batches, each worker has chunks of its own, and sums their gradients, since gradients are
additive; then each takes the step for its part of the parameters.
"""

import math
import os
import time
from collections.abc import Sequence
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

SECONDS = 0.1  # aimed at between two looks at signals
EXAMPLES = 2**17  # at most between them
WORTH = 300_000  # parameters · (examples + 16) of a batch that are worth one more thread
GONE = 2**62  # more than anybody waits for
SPINS = 4096  # some 50 µs: longer than a fair wait, shorter than another program's turn


class Net(NamedTuple):
    """A network and the memory that its workers share, as worker h has it."""

    h: int
    widths: Array  # w_0, ..., w_L
    W: Array  # at k, where W_k starts in the two vectors
    b: Array  # at k, where b_k starts
    a: Array  # at k, where a_k starts in inputs
    params: Array
    velocity: Array
    inputs: Array  # of each worker: its columns of a_0, ..., a_{L-1}
    products: Array  # two in turns, of each worker: its share of z_k
    deltas: Array  # δ_k at k % 2
    scratch: Array  # of each worker
    arrived: Array  # of each worker: the waits that it has come to
    losses: Array  # of each worker: its share of the loss


class Rule(NamedTuple):
    """How a network is trained; what meets its numbers is of their dtype."""

    n: int  # examples of the run
    batch: int  # examples of a batch
    chunk: int  # examples that one worker takes at once
    itemsize: int  # of x: 1 for 8-bit integers, 4 and 8 for floating-point numbers
    scale: Any
    beta: Any
    decay: Any
    eta: Any
    weight: float  # 1 - β: multiplied into δ_L, it costs nothing
    l2: float
    together: bool  # whether workers share batches, or each has chunks of them


# Sums may be reordered, to run in vector registers; NaN and infinity keep their meaning.
OPTIONS: Any = {"fastmath": {"contract", "nsz", "reassoc"}, "nogil": True}


def compiled(function: Any) -> Any:
    """Compile a function, as part of those that are kept."""
    return njit(**OPTIONS)(function)


def kept(function: Any) -> Any:
    """Compile a function, and keep the result on disk if there is a place that can be written."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither beside this file nor in the user's home
        return compiled(function)


def fence() -> None:
    """Have all that was written before seen by others, and what others wrote seen after."""


def give_way() -> None:
    """Let another thread run on this core."""
    time.sleep(0)


def _seq_cst(_: Any) -> Any:
    def generate(context: Any, builder: Any, *_: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), generate


_fence: Any = intrinsic(_seq_cst)
_yield = types.ExternalFunction("sched_yield", types.int32()) if os.name == "posix" else _fence
overload(fence)(lambda: lambda: _fence())  # noqa: PLW0108  # Numba wants functions
overload(give_way)(lambda: lambda: _yield())  # noqa: PLW0108


@compiled
def wait(net: Net) -> None:
    """Wait until all workers have come to this place."""
    fence()
    net.arrived[net.h, 0] = min(net.arrived[net.h, 0] + 1, GONE)
    for other in range(len(net.arrived)):
        spins = 0
        while net.arrived[other, 0] < net.arrived[net.h, 0]:
            fence()
            spins += 1
            if spins > SPINS:
                give_way()
    fence()


@compiled
def block(net: Net, width: int) -> Any:
    """Return where the worker's block of so many columns starts and stops."""
    workers = len(net.arrived)
    return width * net.h // workers, width * (net.h + 1) // workers


@compiled
def matrix(vector: Array, start: int, rows: int, columns: int) -> Array:
    """Return a view of a part of a vector."""
    return vector[start : start + rows * columns].reshape((rows, columns))


@compiled
def columns(net: Net, k: int, n: int) -> Array:
    """Return the worker's columns of a_k, of n examples."""
    start, stop = block(net, net.widths[k])
    return matrix(net.inputs[net.h], net.a[k], n, stop - start)


@compiled
def load(net: Net, rule: Rule, x: Array, rows: Array) -> None:
    """Have the worker's columns of rows of x, which is given as bytes, in a_0."""
    start, _ = block(net, net.widths[0])
    out = columns(net, 0, len(rows))
    if rule.itemsize == 1:
        convert(x, rows, start, rule.scale, out)
    elif rule.itemsize == 4:
        convert(x.view(np.float32), rows, start, rule.scale, out)
    else:
        convert(x.view(np.float64), rows, start, rule.scale, out)


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
        share = products[0, first : first + width]
        for j in range(width):
            row[j] = share[j] + b[start + j]
        for t in range(1, len(products)):
            share = products[t, first : first + width]
            for j in range(width):
                row[j] += share[j]
        for j in range(width):
            row[j] = a.dtype.type(0) if row[j] <= 0 else row[j]


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
def descend(v: Array, g: Array, p: Array, beta: Any, decay: Any, eta: Any) -> None:
    """Take v ← β v + g + decay p, then p ← p - η v."""
    for i in range(len(p)):
        step = beta * v[i] + g[i] + decay * p[i]
        v[i] = step
        p[i] -= eta * step


@compiled
def add(g: Array, total: Array) -> None:
    """Add g to a total."""
    for i in range(len(g)):
        total[i] += g[i]


@compiled
def squares(p: Array) -> Any:
    """Return Σ p²."""
    total = p.dtype.type(0)
    for i in range(len(p)):
        total += p[i] * p[i]
    return total


@compiled
def forward(net: Net, n: int) -> None:
    """Have the workers' shares of z_L in `products`, from a_0 of n examples."""
    depth = len(net.widths) - 1
    for k in range(1, depth + 1):
        width = net.widths[k]
        start, stop = block(net, net.widths[k - 1])
        W = matrix(net.params, net.W[k] + start * width, stop - start, width)
        products = net.products[k % 2]
        np.dot(columns(net, k - 1, n), W, matrix(products[net.h], 0, n, width))
        wait(net)
        if k < depth:
            b, (start, _) = net.params[net.b[k] : net.b[k] + width], block(net, width)
            sum_bias_relu(products, b, start, columns(net, k, n))


@compiled
def output(net: Net, y: Array, factor: Any) -> float:
    """Write δ_L of the worker's share of examples, and return the sum of their cross-entropies."""
    depth = len(net.widths) - 1
    width = net.widths[depth]
    b = net.params[net.b[depth] : net.b[depth] + width]
    delta = matrix(net.deltas[depth % 2], 0, len(y), width)
    start, stop = block(net, len(y))
    products = net.products[depth % 2]
    return float(softmax_minus_labels(products, b, y, start, stop, factor, delta))


@compiled
def penalty(net: Net) -> float:
    """Return Σ w² of the worker's rows of the weights."""
    total = 0.0
    for k in range(1, len(net.widths)):
        start, stop = block(net, net.widths[k - 1])
        width = net.widths[k]
        total += squares(net.params[net.W[k] + start * width : net.W[k] + stop * width])
    return total


@compiled
def backward(net: Net, rule: Rule, n: int) -> None:
    """Have the worker's gradients of n examples, and learn from each."""
    depth = len(net.widths) - 1
    for k in range(depth, 0, -1):
        width = net.widths[k]
        start, stop = block(net, net.widths[k - 1])
        a, delta = columns(net, k - 1, n), matrix(net.deltas[k % 2], 0, n, width)
        rows = slice(net.W[k] + start * width, net.W[k] + stop * width)
        if k > 1:
            back = matrix(net.scratch[net.h], 0, n, stop - start)
            np.dot(delta, net.params[rows].reshape((stop - start, width)).T, back)
            mask(back, a, start, matrix(net.deltas[(k - 1) % 2], 0, n, net.widths[k - 1]))
        g = net.scratch[net.h, : (stop - start) * width]
        np.dot(a.T, delta, g.reshape((stop - start, width)))
        learn(net, rule, rows, g, rule.decay)
        start, stop = block(net, width)
        g = net.scratch[net.h, : stop - start]
        sum_rows(delta, start, g)
        learn(net, rule, slice(net.b[k] + start, net.b[k] + stop), g, g.dtype.type(0))
        if k > 1:
            wait(net)


@compiled
def learn(net: Net, rule: Rule, part: Any, g: Array, decay: Any) -> None:
    """Take the step of a part of the parameters, or else add its gradient to `velocity`."""
    v, p = net.velocity[part], net.params[part]
    if rule.together:
        descend(v, g, p, rule.beta, decay, rule.eta)
    else:
        add(g, v)


@compiled
def agree(net: Net, loss: float) -> float:
    """Return the sum of the workers' shares of the loss, when all have come."""
    net.losses[net.h, 0] = loss
    wait(net)
    total = 0.0
    for t in range(len(net.losses)):
        total += net.losses[t, 0]
    return total


@kept
def together(
    net: Net, rule: Rule, x: Array, rows: Array, y: Array, start: int, losses: Array
) -> None:
    """Do the worker's share of batches of these rows, which have place `start` in the run."""
    for done in range(0, len(rows), rule.batch):
        stop = min(done + rule.batch, len(rows))
        n = stop - done
        load(net, rule, x, rows[done:stop])
        forward(net, n)
        entropy = output(net, y[done:stop], net.params.dtype.type(rule.weight / n))
        loss = agree(net, entropy / n + 0.5 * rule.l2 * penalty(net))
        losses[(start + done) // rule.batch] = loss
        if not math.isfinite(loss):
            break
        backward(net, rule, n)


@kept
def apart(
    net: Net,
    own: Net,
    sums: Array,
    rule: Rule,
    x: Array,
    rows: Array,
    y: Array,
    start: int,
    losses: Array,
) -> None:
    """Do the worker's chunks of batches of these rows, and its part of the steps.

    `own` is a network of one worker: its parameters are those of `net`, its velocity is row h of
    `sums`.
    """
    done = 0
    while done < len(rows):
        within = (start + done) % rule.batch  # a place in its batch
        batch = min(rule.batch, rule.n - (start + done - within))
        end = min(done + batch - within, len(rows))
        if within == 0:
            own.velocity[:], own.losses[own.h, 0] = 0, 0
        for first in range(done, end, rule.chunk):
            if (within + first - done) // rule.chunk % len(sums) == net.h:
                last = min(first + rule.chunk, end)
                load(own, rule, x, rows[first:last])
                forward(own, last - first)
                factor = net.params.dtype.type(rule.weight / batch)
                own.losses[own.h, 0] += output(own, y[first:last], factor)
                backward(own, rule, last - first)
        if within + end - done == batch:
            loss = agree(net, own.losses[own.h, 0] / batch + 0.5 * rule.l2 * penalty(net))
            losses[(start + done) // rule.batch] = loss
            if not math.isfinite(loss):
                break
            finish(net, sums, rule)
        done = end


@compiled
def finish(net: Net, sums: Array, rule: Rule) -> None:
    """Take the step for a part of the parameters, by the sum of what the workers have summed."""
    weights, zero = net.b[1], net.params.dtype.type(0)
    for first, last, decay in ((0, weights, rule.decay), (weights, len(net.params), zero)):
        start, stop = block(net, last - first)
        mine = slice(first + start, first + stop)
        for t in range(1, len(sums)):
            add(sums[t, mine], sums[0, mine])
        descend(net.velocity[mine], sums[0, mine], net.params[mine], rule.beta, decay, rule.eta)
    wait(net)


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
        self.x, self.y, self.cfg = np.asarray(x), np.asarray(y), cfg
        batch, dtype = min(cfg.batch_size or len(x), len(x)), params["W1"].dtype
        vectors = np.zeros((2, sum(p.size for p in params.values())), dtype)
        self.params, self.velocity = (views(vector, params) for vector in vectors)
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]

        with serial_blas as threads:
            workers = max(1, min(threads, vectors[0].size * (batch + 16) // WORTH))
        self.chunk, self.own = batch, []
        if batch > CHUNK:
            turns = -(-batch // (workers * CHUNK))
            self.chunk = -(-batch // (workers * turns))
            self.sums = np.zeros((workers, vectors[0].size), dtype)
            self.own = [_net(params, vectors[0], row, 1, self.chunk) for row in self.sums]
        self.net = _net(params, vectors[0], vectors[1], workers, 0 if self.own else batch)
        native = self.x.dtype == np.uint8 or self.x.dtype in (np.float32, np.float64)
        self.length = 0  # of a slice of a run, as measured
        self.direct = native and self.x.flags.c_contiguous and self.x.flags.aligned

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows; see `Engine`."""
        n = len(rows)
        batch, start = self.cfg.batch_size or n, 0
        losses = np.zeros(-(-n // batch))
        with serial_blas, ThreadPoolExecutor(len(self.net.arrived)) as pool:
            while start < n:
                stop, began = self._stop(start, n), time.perf_counter()
                self._work(pool, np.asarray(rows[start:stop], np.int64), n, start, losses)
                pace = SECONDS / (time.perf_counter() - began)
                self.length = int((stop - start) * min(pace, 8))
                finite = np.isfinite(losses[start // batch : -(-stop // batch)])
                if not finite.all():
                    losses = losses[: start // batch + int(finite.argmin()) + 1]
                    break
                start = stop
        return losses.tolist()

    def snapshot(self) -> tuple[Params, Params]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)

    def _stop(self, start: int, n: int) -> int:
        """Return where a slice of a run of n examples stops, after which signals are looked at.

        It is whole batches, or of one batch as many chunks for each worker.
        """
        batch, workers = self.cfg.batch_size or n, len(self.net.arrived)
        turn = workers * self.chunk if self.own else batch
        most = EXAMPLES if self.direct else workers * CHUNK
        length = max(1, min(self.length, most) // turn) * turn
        left = batch - start % batch
        return min(
            n, start + (length if length < left else left + (length - left) // batch * batch)
        )

    def _work(
        self, pool: ThreadPoolExecutor, rows: Array, n: int, start: int, losses: Array
    ) -> None:
        """Train on a slice of a run of n examples, all workers at once."""
        cfg, net, number = self.cfg, self.net, self.net.params.dtype.type
        x, y = self.x, self.y[rows].astype(np.intp)
        if not self.direct:
            x = as_input(self.params, x[rows], cfg.input_scale)
            x, rows = np.ascontiguousarray(x, number), np.arange(len(rows))
        rule = Rule(
            n,
            cfg.batch_size or n,
            self.chunk,
            x.itemsize,
            number(cfg.input_scale if x.itemsize == 1 else 1),
            number(cfg.momentum),
            number((1 - cfg.momentum) * cfg.l2),
            number(cfg.learning_rate),
            1 - cfg.momentum,
            cfg.l2,
            not self.own,
        )
        raw = x.view(np.uint8)
        raw.flags.writeable = False  # as those of a file may be: one type is compiled once
        net.arrived[:] = 0

        def one(h: int) -> None:
            mine = net._replace(h=h)
            try:
                serial_blas.limit()
                if self.own:
                    apart(mine, self.own[h], self.sums, rule, raw, rows, y, start, losses)
                else:
                    together(mine, rule, raw, rows, y, start, losses)
            finally:
                net.arrived[h] = GONE  # so that nobody waits for one that has left

        futures: list[Any] = []
        try:
            for h in range(1, len(net.arrived)):
                futures.append(pool.submit(one, h))  # noqa: PERF401  # kept if the next fails
            one(0)
        finally:
            net.arrived[0] = net.arrived[1 + len(futures) :] = GONE
        for future in futures:
            future.result()


def _net(params: Params, vector: Array, velocity: Array, workers: int, rows: int) -> Net:
    """Return a network in these vectors, and memory for workers on so many rows at once."""
    depth = len(params) // 2
    widths = [len(params["W1"]), *(params[f"b{k}"].size for k in range(1, depth + 1))]
    starts = np.cumsum([0, 0, *(a * b for a, b in pairwise(widths)), *widths[1:]])
    most = [-(-width // workers) for width in widths]  # columns of one worker
    gradient = max(a * b for a, b in zip(most, widths[1:], strict=False))
    return Net(
        h=0,
        widths=np.array(widths),
        W=starts[: depth + 1],
        b=starts[depth:-1],
        a=rows * np.cumsum([0, *most[:-1]]),
        params=vector,
        velocity=velocity,
        inputs=np.empty((workers, rows * sum(most[:-1])), vector.dtype),
        products=np.empty((2, workers, rows * max(widths[1:])), vector.dtype),
        deltas=np.empty((2, rows * max(widths[1:])), vector.dtype),
        scratch=np.empty((workers, max(rows * max(most), gradient) if rows else 0), vector.dtype),
        arrived=np.zeros((workers, 8), np.int64),  # a line of the cache for each
        losses=np.zeros((workers, 8)),
    )
