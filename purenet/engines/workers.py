"""Training on NumPy arrays by compiled workers (the extra ``fast``).

Each worker owns a block of the columns of every layer's input a_{k-1}, and so the same block of the
rows of W_k and of their velocity. No other worker touches these rows, so they stay in the
cache of one core. The product a_{k-1} W_k is the sum of one partial product of each worker:

- forward: each worker multiplies its blocks; all wait; each worker adds up the partial products of
  its own columns of z_k, and applies bias and ReLU;
- backward: each worker computes its columns of δ_{k-1} and its rows of ∂J/∂W_k from its own blocks
  and all of δ_k, and updates its rows; all wait.

A chunk takes 2 L waits. Only activations, deltas and sums pass between cores. A batch that is
larger than a chunk is processed chunk by chunk: each chunk adds its gradient to the velocity, and
the last one updates the parameters.

Normally each worker runs in a thread of its own. On a busy machine one thread may run several
workers. The results are the same in every bit.
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
from purenet.engines.threads import HeldSignals, processors, serial_blas
from purenet.params import Params, check_labels, copy, flat_views, sizes

__all__ = ["WorkersEngine"]

SECONDS = 0.1  # aimed at for a slice of a run; Python handles Ctrl-C between slices
TRIAL_EVERY = 1.0  # seconds between two trials of another number of threads
GROWTH = 8  # a slice is at most so many times as long as the longest before it, and as a trial
EXAMPLES = 2**17  # of the largest slice
WORK_PER_WORKER = (
    300_000  # least parameters · (examples + 16) of a batch; 16 stands for its fixed cost
)
UNITS_PER_WORKER = 16  # least columns of a layer's input: one vector register of float32
SPINS = 400  # about 10 µs, more than most waits
RELEASED = -(2**62)  # value of `arrivals` that releases every waiting thread

logger = logging.getLogger(__name__)
serial_blas.find_libraries()


class Net(NamedTuple):
    """A network, and the memory that its workers share."""

    first_worker: int  # the first worker that the thread with this tuple runs
    stop_worker: int  # one past the last
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
    """How a network is trained. Fields of type `Any` have the dtype of the parameters."""

    run: int  # examples of the run
    batch: int  # examples of a batch
    chunk: int  # examples of a chunk
    scale: Any  # of x
    momentum: Any  # β
    decay: Any  # (1 - β) l2
    learning_rate: Any  # η
    gradient_weight: float  # 1 - β
    l2: float


# LLVM may reorder sums, and so vectorise them. NaN and infinity are still handled exactly.
OPTIONS: Any = {"fastmath": {"contract", "nsz", "reassoc"}, "nogil": True}


def compiled(function: Any) -> Any:
    """Compile a function as a part of `train`."""
    return njit(**OPTIONS)(function)


def inlined(function: Any) -> Any:
    """Compile a function inside its caller: functions that are passed a `Net` compile slowly."""
    return njit(inline="always", **OPTIONS)(function)


def cached(function: Any) -> Any:
    """Compile a function, and cache the result on disk if there is a folder for it."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no such folder, neither beside this file nor in the user's home
        return compiled(function)


@compiled
def wait(arrivals: NDArray[Any], threads: int) -> None:
    """Wait until all threads have arrived, or one has failed."""
    target = (fetch_add(arrivals) // threads + 1) * threads
    spins = 0
    while 0 <= load_acquire(arrivals) < target:
        pause()
        spins += 1
        if spins > SPINS:
            give_way()


@compiled
def block(width: int, worker: int, workers: int) -> Any:
    """Return start and stop of a worker's block of `width` columns."""
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
    """Write a = z ⊙ [z > 0] with z = Σ_h products_h + b, for the columns from `start` on."""
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
            row[j] *= a.dtype.type(1 if row[j] > 0 else 0)


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
            row[j] = of_back[j] * a.dtype.type(1 if of_a[j] > 0 else 0)


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
    for h in range(net.first_worker, net.stop_worker):
        lo, hi = block(net.widths[0], h, workers)
        load(x, rows, lo, rule.scale, matrix(net.inputs[h], 0, n, hi - lo))
    for k in range(1, depth + 1):
        width, products = net.widths[k], net.products[k % 2]
        for h in range(net.first_worker, net.stop_worker):
            lo, hi = block(net.widths[k - 1], h, workers)
            W = matrix(net.params, net.W_offset[k] + lo * width, hi - lo, width)
            a = matrix(net.inputs[h], net.a_offset[k - 1], n, hi - lo)
            np.dot(a, W, matrix(products[h], 0, n, width))
        wait(net.arrivals, net.threads)
        if k < depth:
            b = net.params[net.b_offset[k] : net.b_offset[k] + width]
            for h in range(net.first_worker, net.stop_worker):
                lo, hi = block(width, h, workers)
                add_bias_relu(products, b, lo, matrix(net.inputs[h], net.a_offset[k], n, hi - lo))


@inlined
def output(net: Net, y: NDArray[Any], factor: Any) -> None:
    """Write δ_L of this thread's blocks of examples, and sum cross-entropies and squared weights.

    The sums are written after the waits of `forward`: by then all threads have read the sums of
    the previous chunk.
    """
    workers, depth, n = len(net.inputs), len(net.widths) - 1, len(y)
    width, products = net.widths[depth], net.products[depth % 2]
    b = net.params[net.b_offset[depth] : net.b_offset[depth] + width]
    delta = matrix(net.deltas[depth % 2], 0, n, width)
    for h in range(net.first_worker, net.stop_worker):
        start, stop = block(n, h, workers)
        net.sums[h, 0] += softmax_minus_labels(products, b, y, start, stop, factor, delta)
        net.sums[h, 1] = 0
        for k in range(1, depth + 1):
            lo, hi = block(net.widths[k - 1], h, workers)
            rows = slice(net.W_offset[k] + lo * net.widths[k], net.W_offset[k] + hi * net.widths[k])
            net.sums[h, 1] += sum_squares(net.params[rows])


@inlined
def backward(net: Net, n: int, momentum: Any, decay: Any, learning_rate: Any) -> None:
    """Compute this thread's part of the gradient of n examples, and update its parameters."""
    workers, depth = len(net.inputs), len(net.widths) - 1
    for k in range(depth, 0, -1):
        width = net.widths[k]
        delta = matrix(net.deltas[k % 2], 0, n, width)
        for h in range(net.first_worker, net.stop_worker):
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


@cached
def train(
    net: Net,
    rule: Rule,
    x: NDArray[Any],
    rows: NDArray[Any],
    y: NDArray[Any],
    start: int,
    losses: NDArray[Any],
) -> None:
    """Run this thread's workers on a slice: on these rows, which begin at `start` in the run.

    Write the loss of each batch, taken before its update, to its place in `losses`. Stop before the
    update if a loss is not finite.
    """
    number, done = net.params.dtype.type, 0
    while done < len(rows):
        position = start + done
        within = position % rule.batch  # the place of the chunk in its batch
        batch = min(rule.batch, rule.run - (position - within))
        n = min(rule.chunk, batch - within)
        is_first, is_last = within == 0, within + n == batch
        forward(net, rule, x, rows[done : done + n])
        if is_first:
            net.sums[net.first_worker : net.stop_worker, 0] = 0
        output(net, y[done : done + n], number(rule.gradient_weight / batch))
        wait(net.arrivals, net.threads)
        loss = 0.0
        for h in range(len(net.sums)):
            loss += net.sums[h, 0] / batch
            if rule.l2 > 0:  # squares that overflow count only where there is a penalty
                loss += 0.5 * rule.l2 * net.sums[h, 1]
        if net.first_worker == 0:
            losses[position // rule.batch] = loss
        if not math.isfinite(loss):
            break
        # The first chunk of a batch applies β and the penalty; the last one takes the step.
        momentum, decay = (rule.momentum, rule.decay) if is_first else (number(1), number(0))
        learning_rate = rule.learning_rate if is_last else number(0)
        backward(net, n, momentum, decay, learning_rate)
        done += n


class Pace:
    """Choose the number of threads from measured speed.

    On a machine that is busy with other work, threads that wait for each other may take longer than
    one thread alone. Once a second, half or twice as many threads are tried on a short slice.

    Parameters
    ----------
    workers : int
        The most threads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = self.threads = workers
        self.seconds: dict[int, float] = {}  # per example, as measured last
        self.length = 0  # examples of a slice that takes about `SECONDS`
        self.trial_at = math.inf
        self.try_fewer = True

    def next(self) -> tuple[int, int]:
        """Return the number of threads and the number of examples of the next slice."""
        now = time.perf_counter()
        if now > self.trial_at and self.workers > 1:
            self.trial_at = now + TRIAL_EVERY
            fewer = self.threads == self.workers or (self.try_fewer and self.threads > 1)
            self.try_fewer = not fewer
            other = self.threads // 2 if fewer else min(self.workers, 2 * self.threads)
            return other, self.length // GROWTH
        return self.threads, self.length

    def measure(self, threads: int, examples: int, seconds: float) -> None:
        """Record the time that a slice took."""
        self.seconds[threads] = seconds / examples
        self.threads = min(self.seconds, key=self.seconds.__getitem__)
        wanted = SECONDS / self.seconds[self.threads]
        longest = GROWTH * max(self.length, examples)
        self.length = int(min(wanted, EXAMPLES, longest))
        # The first slices, which grow, are too short to judge by.
        if self.trial_at == math.inf and wanted < longest:
            self.trial_at = 0.0


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
        self.chunk = math.ceil(batch / math.ceil(batch / CHUNK))  # chunks of equal size
        self.net = _net(sizes(params), vectors[0], vectors[1], self.workers, self.chunk)
        self.pace = Pace(self.workers)

        # Compiled code reads such x directly. Other x is converted slice by slice.
        self.direct = (
            self.x.dtype in (np.uint8, dtype) and self.x.flags.c_contiguous and self.x.flags.aligned
        )
        listener = event.install_listener("numba:compile", _Announcement(dtype))
        # An exception inside a callback of the compiler would be lost, or crash the process.
        with HeldSignals(), listener, np.errstate(all="ignore"):
            none = np.arange(0)
            train(self.net, self._rule(1), *self._examples(none), 0, np.zeros(1))

    def run(self, rows: Sequence[int]) -> list[float]:
        """Train on batches of these rows, as `Engine` says."""
        n = len(rows)
        batch, start = self.cfg.batch_size or n, 0
        losses = np.zeros(math.ceil(n / batch))
        with (
            np.errstate(all="ignore"),  # an overflow shows in the loss
            HeldSignals() as signals,
            serial_blas,
            ThreadPoolExecutor(self.workers) as pool,
        ):
            while start < n:
                signals.check()
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
        """Return the end of a slice of about `length` examples: the end of a chunk."""
        most = EXAMPLES if self.direct else CHUNK
        stop = start + max(min(length, most), self.chunk)
        within = stop % (self.cfg.batch_size or n)
        return min(n, stop - within % self.chunk)

    def _rule(self, n: int) -> Rule:
        """Return how a run of n examples is trained."""
        cfg, number = self.cfg, self.net.params.dtype.type
        integers = self.direct and self.x.dtype == np.uint8
        return Rule(
            run=n,
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
        """Return data, numbers of rows and labels that `train` can use, for rows of x."""
        x, y = self.x.view(), self.y[rows].astype(np.intp)
        if not self.direct:
            scaled: Any = as_input(self.params, x[rows], self.cfg.input_scale)
            x, rows = np.ascontiguousarray(scaled, self.net.params.dtype), np.arange(len(rows))
        x.flags.writeable = False  # read-only and writable arrays would be two types to compile
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
        """Train on a slice of a run of n examples."""
        rule, examples = self._rule(n), self._examples(rows)
        check_labels(self.params, examples[2], len(rows))  # compiled code indexes by them unchecked
        self.net.arrivals[0] = 0

        def work(t: int) -> None:
            first, stop = (self.workers * i // threads for i in (t, t + 1))
            net = self.net._replace(first_worker=first, stop_worker=stop, threads=threads)
            try:
                serial_blas.limit()
                train(net, rule, *examples, start, losses)
            finally:
                self.net.arrivals[0] = RELEASED  # no thread waits for this one any longer

        try:
            futures = [pool.submit(work, t) for t in range(1, threads)]
            work(0)
        finally:
            self.net.arrivals[0] = RELEASED
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
        """Do nothing."""


def _net(
    widths: list[int], params: NDArray[Any], velocity: NDArray[Any], workers: int, examples: int
) -> Net:
    """Lay out a network in these vectors, and allocate the buffers of its workers for a chunk."""
    depth = len(widths) - 1
    offsets = np.cumsum([0, 0, *(a * b for a, b in pairwise(widths)), *widths[1:]])
    most = [-(-width // workers) for width in widths]  # columns of one worker
    gradient = max(a * b for a, b in zip(most, widths[1:], strict=False))
    line = 8  # numbers of 8 bytes in a line of the cache; no two workers write to one line
    return Net(
        first_worker=0,
        stop_worker=workers,
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
