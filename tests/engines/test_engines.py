"""What the engines for NumPy arrays share: they do what the pure functions say, in place."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purenet import Config, init_velocity
from purenet.engines import compiled
from purenet.engines import numpy as numpy_engine
from purenet.engines.inplace import InplaceEngine
from purenet.engines.reference import ReferenceEngine
from purenet.engines.threads import serial_blas
from purenet.engines.workers import WorkersEngine
from tests.support.problems import problem

ENGINES = ["numpy", "1 worker", "2 workers", "3 workers", "interpreted", "3 interpreted"]
Patch = Callable[[pytest.MonkeyPatch, str, int], Any]


class Threads:
    """BLAS of one thread, as if it had had so many before."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> int:
        serial_blas.__enter__()
        return self.number

    def __exit__(self, *_: object) -> None:
        serial_blas.__exit__()

    def limit(self) -> None:
        """Limit in this thread."""
        serial_blas.limit()


def chosen(patch: pytest.MonkeyPatch, name: str, chunk: int = 1024) -> Any:
    """Return the class of an engine, set up for threads, for Python alone, and for a chunk."""
    for module in (numpy_engine, compiled):
        patch.setattr(module, "CHUNK", chunk)
    if name == "numpy":
        return InplaceEngine
    patch.setattr(compiled, "WORTH", 1)
    patch.setattr(compiled, "serial_blas", Threads(int(name[0]) if name[0].isdigit() else 1))
    if name.endswith("interpreted") or getattr(numba.config, "DISABLE_JIT", False):
        patch.setattr(compiled, "SPINS", 1)
        for each, function in vars(compiled).items():
            if hasattr(function, "py_func"):
                patch.setattr(compiled, each, function.py_func)
    return WorkersEngine


@pytest.mark.parametrize("engine", ENGINES)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n=st.integers(1, 12),
    batch_size=st.none() | st.integers(1, 14),
    chunk=st.sampled_from([1, 3, 1024]),
    seconds=st.sampled_from([0.0, 1e-4, 1e9]),
    dtype=st.sampled_from([np.float32, np.float64]),
    x_dtype=st.sampled_from([np.uint8, np.int16, ">i4", np.float16, np.float32, np.float64]),
    layout=st.sampled_from(["C", "F", "misaligned"]),
    l2=st.sampled_from([0.0, 0.1]),
    momentum=st.sampled_from([0.0, 0.9]),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
)
def test_engines_compute_what_the_pure_functions_say(
    engine: str,
    sizes: list[int],
    n: int,
    batch_size: int | None,
    chunk: int,
    seconds: float,
    dtype: Any,
    x_dtype: Any,
    layout: Any,
    l2: float,
    momentum: float,
    shuffle: bool,  # noqa: FBT001
    seed: int,
) -> None:
    """Two epochs in buffers equal two epochs of `backward` and `momentum_step`, up to rounding."""
    params, x, y = problem(*sizes, n=n, seed=seed, dtype=dtype)
    if np.dtype(x_dtype).kind != "f":
        x = np.abs(10 * x)
    x = x.astype(x_dtype, order="F" if layout == "F" else "C")
    if layout == "misaligned":
        x = np.frombuffer(b"0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    x.flags.writeable = False
    cfg = Config(
        learning_rate=0.1, momentum=momentum, l2=l2, batch_size=batch_size, input_scale=0.1
    )
    velocity = init_velocity(params)
    rows: Any = np.random.default_rng(seed).permutation(n) if shuffle else range(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "SECONDS", seconds)
        fast = chosen(patch, engine, chunk)(params, velocity, x, y, cfg)
        losses = fast.run(rows) + fast.run(rows)
    pure = ReferenceEngine(params, velocity, x, y, cfg)
    # at most 24 updates of sums of at most 12 terms, of numbers of order 1 to 10
    tolerance = 24 * 12 * 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(losses, pure.run(rows) + pure.run(rows), 0, tolerance)
    for ours, theirs in zip(fast.snapshot(), pure.snapshot(), strict=True):
        assert list(ours) == list(theirs)
        for name, p in theirs.items():
            assert ours[name].dtype == dtype
            np.testing.assert_allclose(ours[name], p, rtol=0, atol=tolerance)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return each engine in turn."""
    return chosen(monkeypatch, request.param)


def test_snapshot_is_not_written_by_later_steps(engine: Any) -> None:
    """What was handed out stays as it was, and belongs to nobody else."""
    params, x, y = problem(4, 3, 2)
    it = engine(params, init_velocity(params), x, y, Config())
    it.run(range(7))
    snapshot = it.snapshot()
    before = [p.copy() for one in snapshot for p in one.values()]
    it.run(range(7))
    after = [p for one in snapshot for p in one.values()]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_order_of_the_dictionary_changes_no_bit(engine: Any) -> None:
    """Losses, with the penalty, are the same from a file, which has one order."""
    params, x, y = problem(40, 30, 20, n=50, dtype=np.float32)
    other = dict(reversed(params.items()))
    runs = [
        engine(p, init_velocity(p), x, y, Config(l2=0.1, batch_size=7)).run(range(50))
        for p in (params, other)
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("rows", [range(50), np.random.default_rng(0).permutation(50)])
def test_layout_of_the_data_changes_no_bit(engine: Any, rows: Any) -> None:
    """Columns that lie together, and every other column of an array, give what copies give."""
    params, x, y = problem(6, 4, 3, n=50)
    cfg = Config(batch_size=7)
    wide = np.repeat(x, 2, axis=1)
    runs = [
        engine(params, init_velocity(params), data, y, cfg).run(rows)
        for data in (x, np.asfortranarray(x), wide[:, ::2])
    ]
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_do_not_overflow(engine: Any, dtype: Any) -> None:
    """±10⁴ give the loss that the logarithm of a sum of exponentials has."""
    params = {"W1": np.array([[1e4, -1e4]], dtype), "b1": np.zeros(2, dtype)}
    x, y = np.array([[1], [-1], [0]], dtype), np.array([0, 0, 0])
    cfg = Config(l2=0, learning_rate=0)
    (loss,) = engine(params, init_velocity(params), x, y, cfg).run(range(3))
    np.testing.assert_allclose(loss, (2e4 + np.log(2)) / 3, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of Python, where it interprets
@pytest.mark.parametrize("place", ["W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("batch_size", [2, None])
def test_what_is_not_finite_is_seen_before_the_step(
    engine: Any, place: str, value: float, batch_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is not finite, no later batch is met, and the parameters are not written."""
    for module in (numpy_engine, compiled):
        monkeypatch.setattr(module, "CHUNK", 2)
    params, x, y = problem(3, 4, 3, n=7)
    params[place].flat[-1] = value
    it = engine(params, init_velocity(params), abs(x), y, Config(batch_size=batch_size))
    losses = it.run(range(7))
    assert len(losses) == 1
    assert not np.isfinite(losses[0])
    for name, p in it.snapshot()[0].items():
        np.testing.assert_array_equal(p, params[name])


@pytest.mark.parametrize("batch_size", [16, 4096, None])
@pytest.mark.parametrize("name", ["numpy", "1 worker", "2 workers"])
def test_a_step_allocates_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch, batch_size: int | None, name: str
) -> None:
    """After the first epoch, memory in use never grows by more than some small arrays."""
    params, x, y = problem(200, 100, 10, n=5000, dtype=np.float32)
    engine = chosen(monkeypatch, name)
    it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    orders: list[Any] = [range(5000), np.random.default_rng(0).permutation(5000)]
    for order in orders:
        it.run(order)
        tracemalloc.start()
        it.run(order)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 300_000  # a chunk of x takes 819,200 bytes; masks of a chunk take 102,400


@pytest.mark.parametrize(
    ("name", "batch_size", "numbers"),
    [
        # velocity, gradient, parameters and scratch; raw examples, activations and deltas
        ("numpy", 16, 4 * 21_110 + 16 * (200 + 310 + 100)),
        ("numpy", 4096, 4 * 21_110 + 1024 * (200 + 310 + 100)),
        ("numpy", None, 4 * 21_110 + 1024 * (200 + 310 + 100)),
        # velocity, parameters and the gradient of a layer; inputs, and 100 columns as the products
        # of one or two workers and as δ, two of each
        ("1 worker", 16, 2 * 21_110 + 20_000 + 16 * (300 + 4 * 100)),
        ("2 workers", 16, 2 * 21_110 + 20_000 + 16 * (300 + 6 * 100)),
        # each worker has a chunk, a gradient and the sum of gradients
        ("1 worker", None, 3 * 21_110 + 1000 * (300 + 4 * 100 + 200)),
        ("2 workers", 4096, 4 * 21_110 + 2 * 1024 * (300 + 4 * 100 + 200)),
        ("2 workers", None, 4 * 21_110 + 2 * 834 * (300 + 4 * 100 + 200)),
    ],
)
def test_memory_is_some_vectors_of_parameters_and_chunks(
    monkeypatch: pytest.MonkeyPatch, name: str, batch_size: int | None, numbers: int
) -> None:
    """The data, of 5,000 examples, are not copied."""
    engine = chosen(monkeypatch, name)
    params, x, y = problem(200, 100, 10, n=5000, dtype=np.float32)
    tracemalloc.start()
    _it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 4 * numbers + 20_000  # the objects of the arrays take some of that
