"""Workers that own rows of the weights, beside workers that each take a half of every batch.

Both are two threads, compiled by Numba, with the same kernels, the same barrier and one thread of
BLAS each. They differ in what they share.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.decisions.turns import ratio, take_turns
from benchmarks.report import table
from purenet import Config, datasets, init, init_velocity
from purenet.engines.threads import serial_blas
from purenet.engines.workers import (
    EXAMPLES,
    RELEASED,
    WorkersEngine,
    add_bias_relu,
    compiled,
    load,
    mask,
    softmax_minus_labels,
    sum_rows,
    sum_squares,
    wait,
)
from purenet.params import Params, flat_views, layers, sizes

WORKERS = 2
SMALL, LARGE = [784, 200, 50, 10], [784, 1000, 1000, 10]
# Units of the layers, batch size, batches in a round
CASES = ((SMALL, 32, 300), (SMALL, 128, 150), (SMALL, 512, 50), (SMALL, 1024, 30), (LARGE, 128, 10))
CFG = Config(l2=0, learning_rate=0.1)

Arrays = tuple[NDArray[Any], ...]  # one for each layer


class Memory(NamedTuple):
    """What one worker reads and writes: the first eight fields are shared."""

    arrivals: NDArray[Any]
    p: NDArray[Any]  # all parameters; W and b are its parts
    v: NDArray[Any]
    W: Arrays
    b: Arrays
    g: NDArray[Any]  # a gradient of each worker, a row each
    x: NDArray[Any]
    y: NDArray[Any]
    worker: int
    weight_grads: Arrays  # parts of this worker's row of g
    bias_grads: Arrays
    a: Arrays  # the inputs of the layers, for this worker's half of a batch
    z: Arrays
    delta: Arrays


@compiled
def add_and_update(
    v: NDArray[Any], g: NDArray[Any], p: NDArray[Any], momentum: Any, learning_rate: Any
) -> None:
    """Take v ← β v + g_0 + g_1, then p ← p - η v."""
    first, second = g
    for i in range(len(p)):
        step = momentum * v[i] + first[i] + second[i]
        v[i] = step
        p[i] -= learning_rate * step


@compiled
def train(m: Memory, rows: NDArray[Any], scale: Any, momentum: Any, learning_rate: Any) -> Any:
    """Train on whole batches of these rows; return the worker's sums of losses and of squares."""
    half, depth, number = len(m.z[0]), len(m.W), m.p.dtype.type
    factor = (number(1) - momentum) / number(WORKERS * half)
    share = len(m.p) // WORKERS
    start, stop = share * m.worker, len(m.p) if m.worker else share
    entropy, squares = 0.0, 0.0
    for first in range(half * m.worker, len(rows), WORKERS * half):
        own = rows[first : first + half]
        load(m.x, own, 0, scale, m.a[0])
        for k in range(depth):
            np.dot(m.a[k], m.W[k], m.z[k])
            z = m.z[k].reshape((1, m.z[k].size))
            if k + 1 < depth:
                add_bias_relu(z, m.b[k], 0, m.a[k + 1])
            else:
                entropy += softmax_minus_labels(z, m.b[k], m.y[own], 0, half, factor, m.delta[k])
        for k in range(depth - 1, -1, -1):
            np.dot(m.a[k].T, m.delta[k], m.weight_grads[k])
            sum_rows(m.delta[k], 0, m.bias_grads[k])
            if k > 0:
                np.dot(m.delta[k], m.W[k].T, m.z[k - 1])
                mask(m.z[k - 1], m.a[k], 0, m.delta[k - 1])
        wait(m.arrivals, WORKERS)
        p = m.p[start:stop]
        squares += sum_squares(p)
        add_and_update(m.v[start:stop], m.g[:, start:stop], p, momentum, learning_rate)
        wait(m.arrivals, WORKERS)
    return entropy, squares


class ExamplesEngine:
    """Train with two workers that each compute the gradient of a half of every batch."""

    def __init__(self, params: Params, x: NDArray[Any], y: NDArray[Any], batch: int) -> None:
        dtype, size = params["W1"].dtype, sum(p.size for p in params.values())
        half, widths = batch // WORKERS, sizes(params)

        def arrays(widths: list[int]) -> Arrays:
            return tuple(np.empty((half, width), dtype) for width in widths)

        x = x.view()
        x.flags.writeable = False  # read-only and writable arrays would be two types to compile
        (p, v), g = np.zeros((2, size), dtype), np.zeros((WORKERS, size), dtype)
        self.params = flat_views(p, params)
        for name, array in params.items():
            self.params[name][...] = array
        W, b = zip(*layers(self.params), strict=True)
        arrivals, y = np.zeros(8, np.int64), y.astype(np.intp)
        self.memory = []
        for worker in range(WORKERS):
            grads_W, grads_b = zip(*layers(flat_views(g[worker], params)), strict=True)
            a, z, delta = arrays(widths[:-1]), arrays(widths[1:]), arrays(widths[1:])
            mine = (worker, grads_W, grads_b, a, z, delta)
            self.memory.append(Memory(arrivals, p, v, W, b, g, x, y, *mine))
        rates = (CFG.input_scale, CFG.momentum, CFG.learning_rate)
        self.rates = [dtype.type(rate) for rate in rates]
        self.run(np.arange(0))  # compiles

    def run(self, rows: NDArray[Any]) -> None:
        """Train on batches of these rows."""
        arrivals = self.memory[0].arrivals
        arrivals[0] = 0

        def work(memory: Memory) -> None:
            try:
                serial_blas.limit()
                train(memory, rows, *self.rates)
            finally:
                arrivals[0] = RELEASED  # nobody waits for this thread any longer

        with serial_blas, ThreadPoolExecutor(1) as pool:
            other = pool.submit(work, self.memory[1])
            work(self.memory[0])
            other.result()


def rows_engine(params: Params, x: Any, y: Any, batch: int) -> WorkersEngine:
    """Return purenet's engine with two workers in two threads, whatever the load."""
    cfg = replace(CFG, batch_size=batch)
    with threadpool_limits(WORKERS, user_api="blas"):
        engine = WorkersEngine(params, init_velocity(params), x, y, cfg)
    if engine.workers != WORKERS:
        raise RuntimeError(f"this needs {WORKERS} processors")
    engine.pace.next = lambda: (WORKERS, EXAMPLES)  # type: ignore[method-assign]
    return engine


def tables() -> str:
    """Return the table of times, and of the bytes that a worker takes from the other's core."""
    x, y = datasets.mnist()[0]
    rows = []
    for units, batch, batches in CASES:
        params = init(units)
        order = np.random.default_rng(0).permutation(len(x))[: batch * batches]
        engines: dict[str, Any] = {
            "rows": rows_engine(params, x, y, batch),
            "examples": ExamplesEngine(params, x, y, batch),
        }
        for engine in engines.values():
            engine.run(order)
        for name, p in engines["rows"].params.items():
            np.testing.assert_allclose(engines["examples"].params[name], p, atol=1e-3)
        contestants = {name: partial(engine.run, order) for name, engine in engines.items()}
        seconds = take_turns(contestants)
        size, number = sum(p.size for p in params.values()), 4
        # A half of the products of the other and of δ; a half of its gradient and of the weights.
        shared = number * batch * sum(units[1:]), number * size
        rows.append(
            [
                f"{'-'.join(map(str, units))}, {batch}",
                *(f"{count / 1024:,.0f} KiB" for count in shared),
                *(f"{1e6 * median(s) / batches:,.0f} µs" for s in seconds.values()),
                ratio(seconds["examples"], seconds["rows"]),
            ]
        )
    header = ["network, batch", "from the other core: rows", "examples"]
    header += ["a step: rows", "examples", "examples / rows"]
    return table(header, rows)
