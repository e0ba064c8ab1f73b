"""The same training in several ways: a contestant is a function of a task.

It returns two functions. One trains on rows of the data in their order and returns the mean loss;
the other returns the parameters. All that can be prepared is prepared before.
"""

import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from purenet import Config, backward, init, init_velocity, momentum_step
from purenet.engines import CHUNK, cut
from purenet.engines.reference import ReferenceEngine
from purenet.files import datasets
from purenet.reproduction import plain
from purenet.training import epoch_order, epochs

Params = dict[str, Any]
Contestant = tuple[Callable[[Any], float], Callable[[], Params]]


@dataclass(frozen=True)
class Task:
    """What is trained, on the first n images of MNIST or on n rows of pixels in a file."""

    sizes: Sequence[int] = (784, 200, 50, 10)
    dtype: str = "float32"
    batch_size: int | None = 128
    n: int = 60_000
    shuffle: bool = True
    path: str = ""

    @property
    def cfg(self) -> Config:
        """Return hyperparameters that suit the batch size."""
        return Config(batch_size=self.batch_size)

    @property
    def layers(self) -> range:
        """Return the numbers of the layers."""
        return range(1, len(self.sizes))

    def params(self) -> Params:
        """Return the parameters that all start from."""
        return init(self.sizes, dtype=np.dtype(self.dtype))

    def pixels(self) -> tuple[Any, Any]:
        """Return 8-bit images and labels."""
        (x, y), _ = datasets.mnist()
        return x[: self.n], y[: self.n]

    def floats(self, dtype: str = "") -> tuple[Any, Any]:
        """Return images in [0, 1], and labels."""
        x, y = self.pixels()
        return np.multiply(x, 1 / 255, dtype=np.dtype(dtype or self.dtype)), y.astype(np.int64)

    def rows(self, epoch: int) -> Any:
        """Return the order of an epoch: a permutation, or a range if there is no shuffling."""
        if self.shuffle:
            return epoch_order(0, epoch, self.n)
        return range(self.n)

    def batches(self, rows: Any) -> Iterator[Any]:
        """Cut rows into batches: arrays of indices, or slices if there is no shuffling."""
        for batch in cut(rows, self.batch_size or self.n):
            yield slice(batch.start, batch.stop) if isinstance(batch, range) else batch

    def mean(self, losses: Any) -> float:
        """Return the mean of the losses of batches, weighted by their sizes."""
        size = self.batch_size or self.n
        sizes = [min(size, self.n - start) for start in range(0, self.n, size)]
        return float(np.dot(np.asarray(losses, float), sizes) / self.n)


def train(task: Task) -> Contestant:
    """`purenet.train` on 8-bit pixels in NumPy arrays, with the extra `fast`.

    `train` is the generator `epochs`, run to its end. An epoch includes its order, a copy of the
    parameters and the search for numbers that are not finite.
    """
    return _next_records(task, task.params(), task.pixels())


def _next_records(task: Task, params: Params, data: tuple[Any, Any]) -> Contestant:
    """Train without end. Each call takes the record of another epoch."""
    record, records = None, epochs(params, data, _endless(task))

    def epoch(_: Any) -> float:
        nonlocal record
        record = next(records)
        return record.loss

    return epoch, lambda: record.params if record else {}


def _endless(task: Task) -> Config:
    return replace(task.cfg, epochs=sys.maxsize, shuffle=task.shuffle)


def _on_jax(arrays: Params) -> Params:
    import jax.numpy as jnp  # noqa: PLC0415  # an optional library

    return {name: jnp.asarray(array) for name, array in arrays.items()}


def train_numpy(task: Task) -> Contestant:
    """`purenet.train`, without the extra `fast`."""
    sys.modules["purenet.engines.workers"] = None  # type: ignore[assignment]  # not installed
    return train(task)


def train_jax(task: Task) -> Contestant:
    """`purenet.train` on JAX arrays, 8-bit pixels on the device."""
    import jax.numpy as jnp  # noqa: PLC0415  # an optional library

    x, y = map(jnp.asarray, task.pixels())
    return _next_records(task, _on_jax(task.params()), (x, y))


def train_jax_streamed(task: Task) -> Contestant:
    """`purenet.train` on JAX parameters, with pixels in a NumPy array."""
    return _next_records(task, _on_jax(task.params()), task.pixels())


def reference_on_jax(task: Task) -> Contestant:
    """Fold the pure functions over batches of JAX arrays, where JAX dispatches each operation."""
    import jax.numpy as jnp  # noqa: PLC0415  # an optional library

    params = _on_jax(task.params())
    x, y = map(jnp.asarray, task.pixels())
    it = ReferenceEngine(params, init_velocity(params), x, y, task.cfg)
    return lambda rows: task.mean(it.run(rows)), lambda: it.params


def jax_on_file(task: Task) -> Contestant:
    """`purenet.train` on JAX parameters, from a file that is memory-mapped."""
    x = np.memmap(task.path, np.uint8, "r", shape=(task.n, task.sizes[0]))
    y = np.memmap(task.path, np.uint8, "r", shape=(task.n,))
    records = epochs(_on_jax(task.params()), (x, y), _endless(task), record_every=1000)
    return lambda _: next(records).loss, dict


def engine_on_file(task: Task) -> Contestant:
    """Do the first 100,000 examples of the epoch, from a file that is memory-mapped."""
    from purenet.engines.workers import WorkersEngine  # noqa: PLC0415  # needs the extra `fast`

    with open(task.path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if task.shuffle:
        mapped.madvise(mmap.MADV_RANDOM)  # or each row brings its neighbours from the disk
    x = np.frombuffer(mapped, np.uint8).reshape(task.n, task.sizes[0])
    params = task.params()
    it = WorkersEngine(params, init_velocity(params), x, np.zeros(task.n, np.uint8), task.cfg)
    return lambda rows: float(np.mean(it.run(rows[:100_000]))), dict


def products(task: Task) -> Contestant:
    """Only the matrix products of the same steps, in buffers made once: the floor."""
    rng, dtype = np.random.default_rng(0), np.dtype(task.dtype)
    size = task.batch_size or task.n
    rows = min(size, CHUNK)
    a, delta = ([rng.random((rows, width)).astype(dtype) for width in task.sizes] for _ in "ad")
    weights = [task.params()[f"W{k}"] for k in task.layers]
    grads = [w.copy() for w in weights]
    chunks = [
        min(rows, size - start, task.n - first - start)
        for first in range(0, task.n, size)
        for start in range(0, min(size, task.n - first), rows)
    ]

    def epoch(_: Any) -> float:
        for n in chunks:
            for k, w in enumerate(weights):
                np.matmul(a[k][:n], w, out=delta[k + 1][:n])
            for k in reversed(range(len(weights))):
                np.matmul(a[k][:n].T, delta[k + 1][:n], out=grads[k])
                if k:
                    np.matmul(delta[k + 1][:n], weights[k].T, out=delta[k][:n])
        return 0.0

    return epoch, dict


def gemm(task: Task) -> Contestant:
    """Multiply two square matrices of 4096 rows: the machine's best."""
    a, b, out = np.random.default_rng(0).random((3, 4096, 4096)).astype(task.dtype)

    def epoch(_: Any) -> float:
        np.matmul(a, b, out=out)
        return 0.0

    return epoch, dict


def pure(task: Task) -> Contestant:
    """`backward`, then `momentum_step`, on pixels converted before."""
    x, y = task.floats()
    cfg, params = task.cfg, task.params()
    state = [params, init_velocity(params)]

    def epoch(rows: Any) -> float:
        losses = []
        params, velocity = state
        for batch in task.batches(rows):
            loss, grads = backward(params, x[batch], y[batch], l2=cfg.l2)
            params, velocity = momentum_step(
                params,
                velocity,
                grads,
                learning_rate=cfg.learning_rate,
                momentum=cfg.momentum,
            )
            losses.append(loss)
        state[:] = params, velocity
        return task.mean(losses)

    return epoch, lambda: state[0]


def listing(task: Task) -> Contestant:
    """Do the report's algorithm plainly: float64, samples as columns, all allocated."""
    x, y = task.floats("float64")
    params, velocity, _ = plain.start(task.params(), x[:0])

    def epoch(rows: Any) -> float:
        batches = task.batches(rows)
        return task.mean([plain.step(params, velocity, x[b].T, y[b], task.cfg) for b in batches])

    return epoch, lambda: {n: p.T if n[0] == "W" else p[:, 0] for n, p in params.items()}
