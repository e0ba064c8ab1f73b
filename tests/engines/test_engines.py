"""Claims about every engine for NumPy arrays."""

import itertools
import signal
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purenet import Config, init_velocity
from purenet.engines import inplace, workers
from purenet.engines.inplace import InplaceEngine
from purenet.engines.reference import ReferenceEngine
from purenet.engines.workers import WorkersEngine
from tests.support.problems import problem

ENGINES = [
    "inplace",
    "3 inplace",
    "1 worker",
    "2 workers",
    "5 workers",
    "interpreted",
    "3 interpreted",
]


def chosen(patch: pytest.MonkeyPatch, name: str, chunk: int = 1024) -> Any:
    """Return the class of an engine that uses so many threads and chunks of so many examples.

    "interpreted" has Python run what Numba compiles otherwise.
    """
    threads = int(name[0]) if name[0].isdigit() else 1
    for module in (inplace, workers):
        patch.setattr(module, "CHUNK", chunk)
        patch.setattr(module, "processors", lambda: threads)
    if name.endswith("inplace"):
        patch.setattr(inplace, "WORK_PER_THREAD", 1)
        return InplaceEngine
    patch.setattr(workers, "WORK_PER_WORKER", 1)
    patch.setattr(workers, "UNITS_PER_WORKER", 1 / 8)  # so that some workers own nothing
    if name.endswith("interpreted") or not hasattr(workers.train, "py_func"):
        patch.setattr(workers, "SPINS", 1)
        for attribute, function in vars(workers).items():
            if hasattr(function, "py_func"):
                patch.setattr(workers, attribute, function.py_func)
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
    """Two epochs of an engine are two epochs of `backward` and `momentum_step`, up to rounding."""
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
        patch.setattr(workers, "SECONDS", seconds)
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
    """The arrays of a snapshot keep their values while the engine goes on."""
    params, x, y = problem(4, 3, 2)
    it = engine(params, init_velocity(params), x, y, Config())
    it.run(range(7))
    snapshot = it.snapshot()
    before = [p.copy() for one in snapshot for p in one.values()]
    it.run(range(7))
    after = [p for one in snapshot for p in one.values()]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_order_of_the_dictionary_changes_no_bit(engine: Any) -> None:
    """Equal parameters give equal bits, whatever the order of their dictionary."""
    params, x, y = problem(40, 30, 20, n=50, dtype=np.float32)
    other = dict(reversed(params.items()))
    runs = [
        engine(p, init_velocity(p), x, y, Config(l2=0.1, batch_size=7)).run(range(50))
        for p in (params, other)
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("rows", [range(50), np.random.default_rng(0).permutation(50)])
def test_layout_of_the_data_changes_no_bit(engine: Any, rows: Any) -> None:
    """Data in column order, or with gaps between columns, give the bits of contiguous copies."""
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
    """Logits of ±10⁴ give the exact loss."""
    params = {"W1": np.array([[1e4, -1e4]], dtype), "b1": np.zeros(2, dtype)}
    x, y = np.array([[1], [-1], [0]], dtype), np.array([0, 0, 0])
    cfg = Config(l2=0, learning_rate=0)
    (loss,) = engine(params, init_velocity(params), x, y, cfg).run(range(3))
    np.testing.assert_allclose(loss, (2e4 + np.log(2)) / 3, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of Python, where it interprets
def test_a_hidden_unit_at_minus_infinity_is_not_finite(engine: Any) -> None:
    """ReLU is z ⊙ [z > 0]: it turns -∞ into NaN, not into 0."""
    params = problem(3, 4, 3)[0]
    params["b1"][0] = -np.inf
    x, y = np.ones((1, 3)), np.array([0])
    (loss,) = engine(params, init_velocity(params), x, y, Config()).run(range(1))
    assert np.isnan(loss)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of Python, where it interprets
def test_weights_whose_squares_overflow_count_only_with_a_penalty(engine: Any) -> None:
    """Without l2 the loss is the cross-entropy, also where ‖W‖² is infinite."""
    params = {"W1": np.full((1, 2), 1e30, np.float32), "b1": np.zeros(2, np.float32)}
    x, y = np.array([[1e-30]], np.float32), np.array([0])
    for kind in (engine, ReferenceEngine):
        for l2, finite in ((0.0, True), (0.1, False)):
            (loss,) = kind(params, init_velocity(params), x, y, Config(l2=l2)).run(range(1))
            assert np.isfinite(loss) == finite


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of Python, where it interprets
@pytest.mark.parametrize("place", ["W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("batch_size", [2, None])
def test_what_is_not_finite_is_seen_before_the_step(
    engine: Any, place: str, value: float, batch_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is not finite is the last one, and the parameters stay as they were."""
    for module in (inplace, workers):
        monkeypatch.setattr(module, "CHUNK", 2)
    params, x, y = problem(3, 4, 3, n=7)
    params[place].flat[-1] = value
    it = engine(params, init_velocity(params), abs(x), y, Config(batch_size=batch_size))
    losses = it.run(range(7))
    assert len(losses) == 1
    assert not np.isfinite(losses[0])
    for name, p in it.snapshot()[0].items():
        np.testing.assert_array_equal(p, params[name])


@pytest.mark.parametrize("batch_size", [1, None])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_run_between_two_chunks(
    engine: Any, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, batch_size: int | None
) -> None:
    """The handler is called at once, in the thread of the caller, and no thread is left behind."""
    monkeypatch.setattr(workers, "SECONDS", 0.0)
    params, x, y = problem(40, 30, 20, n=20_000, dtype=np.float32)
    it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size, learning_rate=0))
    threads, calls = threading.active_count(), []

    def handler(*_: Any) -> None:
        calls.append(threading.current_thread())
        raise KeyboardInterrupt

    previous = signal.signal(number, handler)
    timer = threading.Timer(0.05, signal.raise_signal, [number])
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            any(it.run(range(20_000)) == [] for _ in itertools.count())
        assert signal.getsignal(number) == handler
    finally:
        timer.join()
        signal.signal(number, previous)
    assert calls == [threading.main_thread()]
    assert threading.active_count() == threads


@pytest.mark.parametrize("batch_size", [16, 4096, None])
@pytest.mark.parametrize("name", ["inplace", "2 inplace", "1 worker", "2 workers"])
def test_a_step_allocates_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch, batch_size: int | None, name: str
) -> None:
    """After the first epoch, a step allocates only some small arrays."""
    params, x, y = problem(200, 100, 10, n=5000, dtype=np.float32)
    engine, threads = chosen(monkeypatch, name), 2 if name == "2 inplace" else 1
    it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    orders: list[Any] = [range(5000), np.random.default_rng(0).permutation(5000)]
    for order in orders:
        it.run(order)
        tracemalloc.start()
        it.run(order)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # a chunk of x takes 819,200 bytes; masks of a chunk take 102,400, for each thread
        assert peak < 100_000 + 200_000 * threads


@pytest.mark.parametrize(
    ("name", "batch_size", "numbers"),
    [
        # velocity, gradient, parameters and scratch; raw examples, activations and deltas
        ("inplace", 16, 4 * 21_110 + 16 * (200 + 310 + 100)),
        ("inplace", 4096, 4 * 21_110 + 1024 * (200 + 310 + 100)),
        ("inplace", None, 4 * 21_110 + 1024 * (200 + 310 + 100)),
        # the same with a gradient, scratch and buffers for each of three threads
        ("3 inplace", None, 8 * 21_110 + 3 * 1024 * (200 + 310 + 100)),
        # velocity, parameters and the gradient of a layer; inputs, and 100 columns as the products
        # of one or two workers and as δ, two of each
        ("1 worker", 16, 2 * 21_110 + 20_000 + 16 * (300 + 4 * 100)),
        ("2 workers", 16, 2 * 21_110 + 20_000 + 16 * (300 + 6 * 100)),
        # scratch for 200 columns of a chunk
        ("1 worker", None, 2 * 21_110 + 1000 * (300 + 4 * 100 + 200)),
        ("2 workers", 4096, 2 * 21_110 + 1024 * (300 + 6 * 100 + 200)),
        ("2 workers", None, 2 * 21_110 + 1000 * (300 + 6 * 100 + 200)),
    ],
)
def test_memory_is_some_vectors_of_parameters_and_chunks(
    monkeypatch: pytest.MonkeyPatch, name: str, batch_size: int | None, numbers: int
) -> None:
    """An engine's buffers have the size that the table derives. The data are not copied."""
    engine = chosen(monkeypatch, name)
    params, x, y = problem(200, 100, 10, n=5000, dtype=np.float32)
    tracemalloc.start()
    _it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken < 4 * numbers + 20_000  # the objects of the arrays take some of that
