"""Training on NumPy arrays by compiled workers (the extra ``fast``).

Each worker owns a block of the columns of every layer's input a_{k-1}, and so the same block of the
rows of W_k and of their velocity. No other worker reads or writes these rows: they stay in the
cache of one core. The product a_{k-1} W_k is the sum of one partial product of each worker:

- forward: each worker multiplies its blocks; all wait; each worker sums the columns of z_k that are
  its inputs to layer k + 1;
- backward: each worker computes its columns of δ_{k-1} and its rows of ∂J/∂W_k from its own blocks
  and all of δ_k, and updates its rows; all wait.

A batch takes 2 L waits, and only activations pass between cores. A batch that is larger than a
chunk is processed chunk by chunk: the gradient accumulates in the velocity, and the last chunk
takes the step.

Each worker has a thread, unless the machine is busy: then one thread may do the work of several
workers, which changes no bit.
"""

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  # the BLAS that Numba calls
from numba import njit
from numba.core import event
from numpy.typing import NDArray

from purenet.config import Config
from purenet.engines import CHUNK, as_input
from purenet.engines.atomics import fetch_add, give_way, load_acquire, pause
from purenet.engines.threads import processors, serial_blas
from purenet.params import Params, copy, flat_views, sizes

__all__ = ["WorkersEngine"]

SECONDS = 0.1  # between two returns to Python, which notices signals
TRIAL_EVERY = 1.0  # seconds between two trials of another number of threads
EXAMPLES = 2**17  # at most, between two returns
WORK_PER_WORKER = 300_000  # parameters · (examples + 16) of a batch
UNITS_PER_WORKER = 16  # of every layer's input: one vector register of float32
SPINS = 400  # about 10 µs, more than most waits
LEFT = -(2**62)  # value of `arrivals` after a thread has left

logger = logging.getLogger(__name__)
serial_blas.find_libraries()


class Net(NamedTuple):
    """A network, and the memory that its workers share."""

    first: int  # the workers whose work the thread does that has this tuple ...
    stop: int  # ... are those from `first` to `stop` - 1
    threads: int
    widths: NDArray[Any]  # w_0, ..., w_L
    W_offset: NDArray[Any]  # at k, where W_k starts in `params` and `velocity`
    b_offset: NDArray[Any]  # at k, where b_k starts in them
    a_offset: NDArray[Any]  # at k, where a_k starts in a row of `inputs`
    params: NDArray[Any]
    velocity: NDArray[Any]
    inputs: NDArray[Any]  # a row for each worker: its columns of a_0, ..., a_{L-1}
    products: NDArray[Any]  # at [k % 2, h], the partial product of worker h in layer k
    deltas: NDArray[Any]  # at k % 2, δ_k
    scratch: NDArray[Any]  # a row for each worker
    sums: NDArray[Any]  # a row for each worker: its sums of cross-entropies and of squared weights
    arrivals: NDArray[Any]  # at 0, how often threads have come to a wait


class Rule(NamedTuple):
    """How a network is trained. What is typed `Any` has the dtype of the parameters."""

    examples: int  # of the run
    batch: int  # examples of a batch
    chunk: int  # examples of a chunk
    scale: Any  # of x
    momentum: Any  # β
    decay: Any  # (1 - β) l2
    learning_rate: Any  # η
    gradient_weight: float  # 1 - β
    l2: float


# Sums may be reordered, so that they run in vector registers. NaN and infinity keep their meaning.
OPTIONS: Any = {"fastmath": {"contract", "nsz", "reassoc"}, "nogil": True}


def compiled(function: Any) -> Any:
    """Compile a function as a part of `train`."""
    return njit(**OPTIONS)(function)


def inlined(function: Any) -> Any:
    """Compile a function inside its caller, which is quicker for functions that take a `Net`."""
    return njit(inline="always", **OPTIONS)(function)


def kept(function: Any) -> Any:
    """Compile a function, and keep the result on disk if there is a place that can be written."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither beside this file nor in the user's home
        return compiled(function)


@compiled
def wait(arrivals: NDArray[Any], threads: int) -> None:
    """Wait until all threads have come here, or one has left."""
    target = (fetch_add(arrivals) // threads + 1) * threads
    spins = 0
    while 0 <= load_acquire(arrivals) < target:
        pause()
        spins += 1
        if spins > SPINS:
            give_way()


@compiled
def block(width: int, worker: int, workers: int) -> Any:
    """Return where a worker's block of so many columns starts and stops."""
    return width * worker // workers, width * (worker + 1) // workers


@compiled
def matrix(vector: NDArray[Any], offset: int, rows: int, columns: int) -> NDArray[Any]:
    """Return a view of a part of a vector."""
    return vector[offset : offset + rows * columns].reshape((rows, columns))


@compiled
def load(x: NDArray[Any], rows: NDArray[Any], start: int, scale: Any, a: NDArray[Any]) -> None:
    """Write a = scale · x[rows], for the columns from `start` on."""
    for i in range(len(rows)):
        row, raw = a[i], x[rows[i], start : start + a.shape[1]]
        for j in range(len(row)):
            row[j] = raw[j] * scale


@compiled
def add_bias_relu(products: NDArray[Any], b: NDArray[Any], start: int, a: NDArray[Any]) -> None:
    """Write a = max(Σ_h products_h + b, 0), for the columns from `start` on."""
    n, width = a.shape
    for i in range(n):
        row, offset = a[i], i * len(b) + start
        product = products[0, offset : offset + width]
        for j in range(width):
            row[j] = product[j] + b[start + j]
        for h in range(1, len(products)):
            product = products[h, offset : offset + width]
            for j in range(width):
                row[j] += product[j]
        for j in range(width):
            row[j] = a.dtype.type(0) if row[j] <= 0 else row[j]


@compiled
def softmax_minus_labels(
    products: NDArray[Any],
    b: NDArray[Any],
    y: NDArray[Any],
    start: int,
    stop: int,
    factor: Any,
    delta: NDArray[Any],
) -> float:
    """Write δ = factor · (softmax(z) - t), z = Σ_h products_h + b, for examples start to stop.

    Return the sum of their cross-entropies.
    """
    total, classes = 0.0, len(b)
    for i in range(start, stop):
        row, offset = delta[i], i * classes
        largest, exponentials = -b.dtype.type(np.inf), b.dtype.type(0)
        for j in range(classes):
            row[j] = b[j]
            for h in range(len(products)):
                row[j] += products[h, offset + j]
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
def mask(back: NDArray[Any], a: NDArray[Any], start: int, delta: NDArray[Any]) -> None:
    """Write δ = back ⊙ [a > 0] into the columns from `start` on."""
    n, width = a.shape
    for i in range(n):
        row, of_a, of_back = delta[i, start : start + width], a[i], back[i]
        for j in range(width):
            row[j] = of_back[j] if of_a[j] > 0 else a.dtype.type(0)


@compiled
def sum_rows(delta: NDArray[Any], start: int, total: NDArray[Any]) -> None:
    """Write Σ_i δ_i, for the columns from `start` on."""
    total[:] = 0
    for i in range(len(delta)):
        row = delta[i, start : start + len(total)]
        for j in range(len(total)):
            total[j] += row[j]


@compiled
def update(
    v: NDArray[Any], g: NDArray[Any], p: NDArray[Any], momentum: Any, decay: Any, learning_rate: Any
) -> None:
    """Take v ← β v + g + decay · p, then p ← p - η v."""
    for i in range(len(p)):
        step = momentum * v[i] + g[i] + decay * p[i]
        v[i] = step
        p[i] -= learning_rate * step


@compiled
def sum_squares(p: NDArray[Any]) -> Any:
    """Return Σ p²."""
    total = p.dtype.type(0)
    for i in range(len(p)):
        total += p[i] * p[i]
    return total


@inlined
def forward(net: Net, rule: Rule, x: NDArray[Any], rows: NDArray[Any]) -> None:
    """Write this thread's blocks of the activations, and its partial products of z_L."""
    workers, depth, n = len(net.inputs), len(net.widths) - 1, len(rows)
    for h in range(net.first, net.stop):
        lo, hi = block(net.widths[0], h, workers)
        load(x, rows, lo, rule.scale, matrix(net.inputs[h], 0, n, hi - lo))
        net.sums[h, 1] = 0
    for k in range(1, depth + 1):
        width, products = net.widths[k], net.products[k % 2]
        for h in range(net.first, net.stop):
            lo, hi = block(net.widths[k - 1], h, workers)
            W = matrix(net.params, net.W_offset[k] + lo * width, hi - lo, width)
            a = matrix(net.inputs[h], net.a_offset[k - 1], n, hi - lo)
            np.dot(a, W, matrix(products[h], 0, n, width))
            net.sums[h, 1] += sum_squares(W.reshape(-1))
        wait(net.arrivals, net.threads)
        if k < depth:
            b = net.params[net.b_offset[k] : net.b_offset[k] + width]
            for h in range(net.first, net.stop):
                lo, hi = block(width, h, workers)
                add_bias_relu(products, b, lo, matrix(net.inputs[h], net.a_offset[k], n, hi - lo))


@inlined
def output(net: Net, y: NDArray[Any], factor: Any) -> None:
    """Write δ_L of this thread's blocks of examples, and add up their cross-entropies."""
    workers, depth, n = len(net.inputs), len(net.widths) - 1, len(y)
    width, products = net.widths[depth], net.products[depth % 2]
    b = net.params[net.b_offset[depth] : net.b_offset[depth] + width]
    delta = matrix(net.deltas[depth % 2], 0, n, width)
    for h in range(net.first, net.stop):
        start, stop = block(n, h, workers)
        net.sums[h, 0] += softmax_minus_labels(products, b, y, start, stop, factor, delta)


@inlined
def backward(net: Net, n: int, momentum: Any, decay: Any, learning_rate: Any) -> None:
    """Compute this thread's part of the gradient of n examples, and update its parameters."""
    workers, depth = len(net.inputs), len(net.widths) - 1
    for k in range(depth, 0, -1):
        width = net.widths[k]
        delta = matrix(net.deltas[k % 2], 0, n, width)
        for h in range(net.first, net.stop):
            lo, hi = block(net.widths[k - 1], h, workers)
            a = matrix(net.inputs[h], net.a_offset[k - 1], n, hi - lo)
            own = slice(net.W_offset[k] + lo * width, net.W_offset[k] + hi * width)
            W, g = net.params[own], net.scratch[h, : (hi - lo) * width]
            if k > 1:
                back = matrix(net.scratch[h], 0, n, hi - lo)
                np.dot(delta, W.reshape((hi - lo, width)).T, back)
                mask(back, a, lo, matrix(net.deltas[(k - 1) % 2], 0, n, net.widths[k - 1]))
            np.dot(a.T, delta, g.reshape((hi - lo, width)))
            update(net.velocity[own], g, W, momentum, decay, learning_rate)
            lo, hi = block(width, h, workers)
            own = slice(net.b_offset[k] + lo, net.b_offset[k] + hi)
            b, g = net.params[own], net.scratch[h, : hi - lo]
            sum_rows(delta, lo, g)
            update(net.velocity[own], g, b, momentum, b.dtype.type(0), learning_rate)
        if k > 1:
            wait(net.arrivals, net.threads)


@kept
def train(
    net: Net,
    rule: Rule,
    x: NDArray[Any],
    rows: NDArray[Any],
    y: NDArray[Any],
    start: int,
    losses: NDArray[Any],
) -> None:
    """Do one thread's share of a slice of a run: these rows, from place `start` in the run on.

    The loss of a batch, before its update, goes to its place in `losses`. A loss that is not finite
    ends the slice before the update.
    """
    number, done = net.params.dtype.type, 0
    while done < len(rows):
        within = (start + done) % rule.batch  # the place of the chunk in its batch
        batch = min(rule.batch, rule.examples - (start + done - within))
        n = min(rule.chunk, batch - within)
        first, last = within == 0, within + n == batch
        forward(net, rule, x, rows[done : done + n])
        if first:
            net.sums[net.first : net.stop, 0] = 0
        output(net, y[done : done + n], number(rule.gradient_weight / batch))
        wait(net.arrivals, net.threads)
        loss = 0.0
        for h in range(len(net.sums)):
            loss += net.sums[h, 0] / batch + 0.5 * rule.l2 * net.sums[h, 1]
        if net.first == 0:
            losses[(start + done) // rule.batch] = loss
        if not math.isfinite(loss):
            break
        # The first chunk decays the velocity, and the last one takes the step.
        momentum, decay = (rule.momentum, rule.decay) if first else (number(1), number(0))
        learning_rate = rule.learning_rate if last else number(0)
        backward(net, n, momentum, decay, learning_rate)
        done += n


class Pace:
    """Choose how many threads do the work of the workers, by how fast they were.

    On a machine that is busy with other work, threads that wait for each other may take longer than
    one thread alone. Now and then half or twice as many threads are tried for a short time.

    Parameters
    ----------
    workers : int
        The most threads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = self.threads = workers
        self.seconds: dict[int, float] = {}  # per example, as measured last
        self.length = 0  # examples that take about `SECONDS`
        self.trial_at, self.fewer = 0.0, True

    def next(self) -> tuple[int, int]:
        """Return how many threads shall train on how many examples next."""
        if self.length and time.perf_counter() > self.trial_at:
            self.trial_at = time.perf_counter() + TRIAL_EVERY
            other = max(1, self.threads // 2) if self.fewer else min(self.workers, 2 * self.threads)
            self.fewer = not self.fewer
            if other != self.threads:
                return other, self.length // 8
        return self.threads, self.length

    def measure(self, threads: int, examples: int, seconds: float) -> None:
        """Note how long so many threads took for so many examples."""
        self.seconds[threads] = seconds / examples
        self.threads = min(self.seconds, key=self.seconds.__getitem__)
        wanted = SECONDS / self.seconds[self.threads]
        self.length = int(min(wanted, EXAMPLES, 8 * max(self.length, examples)))


class WorkersEngine:
    """Compute what `ReferenceEngine` computes, up to rounding, in compiled threads.

    Parameters
    ----------
    params : dict of numpy.ndarray
        W1, b1, ..., WL, bL, float32 or float64.
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
        dtype = params["W1"].dtype
        vectors = np.zeros((2, sum(p.size for p in params.values())), dtype)
        self.params, self.velocity = (flat_views(vector, params) for vector in vectors)
        for name in params:
            self.velocity[name][...], self.params[name][...] = velocity[name], params[name]

        batch = min(cfg.batch_size or len(x), len(x))
        work, narrowest = vectors[0].size * (batch + 16), min(sizes(params)[:-1])
        self.workers = max(
            1, min(processors(), work // WORK_PER_WORKER, narrowest // UNITS_PER_WORKER)
        )
        self.chunk = -(-batch // -(-batch // CHUNK))  # equal chunks
        self.net = _net(sizes(params), vectors[0], vectors[1], self.workers, self.chunk)
        self.pace = Pace(self.workers)

        # Other data are converted slice by slice before they are trained on.
        self.direct = (
            self.x.dtype in (np.uint8, dtype)
            and self.x.dtype.isnative
            and self.x.flags.c_contiguous
            and self.x.flags.aligned
        )
        with event.install_listener("numba:compile", _Announcement(dtype)):
            none = np.arange(0)
            train(self.net, self._rule(1), *self._examples(none), 0, np.zeros(1))

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, as `Engine` says."""
        n = len(rows)
        batch, start = self.cfg.batch_size or n, 0
        losses = np.zeros(-(-n // batch))
        with serial_blas, ThreadPoolExecutor(self.workers) as pool:
            while start < n:
                threads, length = self.pace.next()
                stop, began = self._stop(start, length, n), time.perf_counter()
                self._train(pool, threads, np.asarray(rows[start:stop], np.int64), n, start, losses)
                self.pace.measure(threads, stop - start, time.perf_counter() - began)
                finite = np.isfinite(losses[start // batch : -(-stop // batch)])
                if not finite.all():
                    losses = losses[: start // batch + int(finite.argmin()) + 1]
                    break
                start = stop
        return losses.tolist()

    def snapshot(self) -> tuple[Params, Params]:
        """Return copies of parameters and velocity."""
        return copy(self.params), copy(self.velocity)

    def _stop(self, start: int, length: int, n: int) -> int:
        """Return where a slice of about this length stops: at the end of a chunk."""
        most = EXAMPLES if self.direct else CHUNK
        stop = start + max(min(length, most), self.chunk)
        within = stop % (self.cfg.batch_size or n)
        return min(n, stop - within % self.chunk)

    def _rule(self, n: int) -> Rule:
        """Return how a run of n examples is trained."""
        cfg, number = self.cfg, self.net.params.dtype.type
        integers = self.direct and self.x.dtype == np.uint8
        return Rule(
            examples=n,
            batch=cfg.batch_size or n,
            chunk=self.chunk,
            scale=number(cfg.input_scale if integers else 1),
            momentum=number(cfg.momentum),
            decay=number((1 - cfg.momentum) * cfg.l2),
            learning_rate=number(cfg.learning_rate),
            gradient_weight=1 - cfg.momentum,
            l2=cfg.l2,
        )

    def _examples(self, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return x, the rows of it that are these examples, and their labels."""
        x, y = self.x.view(), self.y[rows].astype(np.intp)
        if not self.direct:
            scaled: Any = as_input(self.params, x[rows], self.cfg.input_scale)
            x, rows = np.ascontiguousarray(scaled, self.net.params.dtype), np.arange(len(rows))
        x.flags.writeable = False  # as those of a file may be: one type is compiled once
        return x, rows, y

    def _train(
        self,
        pool: ThreadPoolExecutor,
        threads: int,
        rows: NDArray[Any],
        n: int,
        start: int,
        losses: NDArray[Any],
    ) -> None:
        """Train on a slice of a run of n examples, in so many threads at once."""
        rule, examples = self._rule(n), self._examples(rows)
        self.net.arrivals[0] = 0

        def work(t: int) -> None:
            first, stop = (self.workers * i // threads for i in (t, t + 1))
            net = self.net._replace(first=first, stop=stop, threads=threads)
            try:
                serial_blas.limit()
                train(net, rule, *examples, start, losses)
            finally:
                self.net.arrivals[0] = LEFT  # so that no thread waits for one that has left

        futures: list[Any] = []
        try:
            for t in range(1, threads):
                futures.append(pool.submit(work, t))  # noqa: PERF401  # kept if the next fails
            work(0)
        finally:
            self.net.arrivals[0] = LEFT
        for future in futures:
            future.result()


class _Announcement(event.Listener):
    """Log once that compiling has begun."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.made = dtype, False

    def on_start(self, _: Any) -> None:
        """Log."""
        if not self.made:
            logger.info("compiling for %s, once: this takes some seconds", self.dtype)
        self.made = True

    def on_end(self, _: Any) -> None:
        """Leave it at that."""


def _net(
    widths: list[int], params: NDArray[Any], velocity: NDArray[Any], workers: int, examples: int
) -> Net:
    """Return a network in these vectors, and memory for workers on a chunk of so many examples."""
    depth = len(widths) - 1
    offsets = np.cumsum([0, 0, *(a * b for a, b in pairwise(widths)), *widths[1:]])
    most = [-(-width // workers) for width in widths]  # columns of one worker
    gradient = max(a * b for a, b in zip(most, widths[1:], strict=False))
    line = 8  # numbers of 8 bytes in a line of the cache, which no two workers write
    return Net(
        first=0,
        stop=workers,
        threads=1,
        widths=np.array(widths),
        W_offset=offsets[: depth + 1],
        b_offset=offsets[depth:-1],
        a_offset=examples * np.cumsum([0, *most[:-1]]),
        params=params,
        velocity=velocity,
        inputs=np.empty((workers, examples * sum(most[:-1])), params.dtype),
        products=np.empty((2, workers, examples * max(widths[1:])), params.dtype),
        deltas=np.empty((2, examples * max(widths[1:])), params.dtype),
        scratch=np.empty((workers, max(examples * max(most), gradient)), params.dtype),
        sums=np.zeros((workers, line)),
        arrivals=np.zeros(line, np.int64),
    )
