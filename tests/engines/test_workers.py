"""Claims about the compiled workers: bits, interruptions, and how many there are."""

import itertools
import re
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numba import njit
from threadpoolctl import threadpool_limits

from purenet import Config, engines, init, init_velocity, training
from purenet.engines import atomics, workers
from purenet.engines.inplace import InplaceEngine
from purenet.engines.threads import serial_blas
from purenet.engines.workers import WorkersEngine
from purenet.files import datasets
from tests.engines.test_engines import chosen
from tests.support.problems import problem


def bits(engine: Any, rows: Any, cuts: Any = ()) -> tuple[Any, ...]:
    """Return losses and parameters of a run, which may be cut into runs."""
    losses = [loss for part in np.split(np.asarray(rows), cuts) for loss in engine.run(part)]
    return (losses, *(p.tobytes() for p in engine.params.values()))


@pytest.mark.parametrize("batch_size", [5, 50])
@pytest.mark.parametrize("name", ["1 worker", "2 workers", "8 workers"])
def test_runs_are_one_in_every_bit_however_they_are_cut(
    monkeypatch: pytest.MonkeyPatch, name: str, batch_size: int
) -> None:
    """Bits depend neither on how a run is cut nor on the order in which workers arrive."""
    engine = chosen(monkeypatch, name, chunk=10)
    params, x, y = problem(20, 15, 10, 5, n=352, dtype=np.float32)
    rows, cfg = np.random.default_rng(0).permutation(352), Config(batch_size=batch_size)

    def run(seconds: float, *cuts: int) -> Any:
        monkeypatch.setattr(workers, "SECONDS", seconds)
        return bits(engine(params, init_velocity(params), x, y, cfg), rows, cuts)

    expected = run(1e9)
    assert run(1e9) == expected
    assert run(1e-3, 50, 300) == expected
    assert run(0) == expected


@pytest.mark.parametrize(
    ("sizes", "batch_size", "available", "expected"),
    [
        ([784, 200, 50, 10], 128, 2, 2),
        ([784, 200, 50, 10], 128, 64, 3),  # layers of 50 units feed three workers
        ([784, 500, 500, 10], 128, 64, 31),  # and those of 500 units, 31
        ([784, 500, 8, 10], 128, 64, 1),
        ([64, 64, 10], 64, 64, 1),  # too little work
        ([64, 64, 10], None, 4, 4),
    ],
)
def test_number_of_workers_follows_work_width_and_processors(
    monkeypatch: pytest.MonkeyPatch,
    sizes: list[int],
    batch_size: int | None,
    available: int,
    expected: int,
) -> None:
    """There are as many workers as processors, unless the work or a layer is too small."""
    monkeypatch.setattr(workers, "processors", lambda: available)
    params, x, y = problem(*sizes, n=1000, dtype=np.float32)
    engine = WorkersEngine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    assert engine.workers == expected


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of Python, if it interprets
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("batch_size", [10, None])
def test_nobody_waits_for_a_worker_that_has_left(
    monkeypatch: pytest.MonkeyPatch, who: int, batch_size: int | None
) -> None:
    """An exception in one worker is raised, and leaves no thread behind."""
    engine = chosen(monkeypatch, "2 workers", chunk=10)
    params, x, y = problem(40, 30, 20, n=100, dtype=np.float32)
    real = workers.train

    def leaving(net: Any, *args: Any) -> None:
        if net.first_worker == who and len(args[2]):  # not when it compiles
            raise KeyboardInterrupt
        real(net, *args)

    monkeypatch.setattr(workers, "train", leaving)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        engine(params, init_velocity(params), x, y, Config(batch_size=batch_size)).run(range(100))
    assert threading.active_count() == threads


def refuse(*_: Any) -> None:
    """Do not do it."""
    raise RuntimeError("refused")


@pytest.mark.parametrize("batch_size", [10, None])
def test_a_thread_that_cannot_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, batch_size: int | None
) -> None:
    """If a thread cannot start, the others stop and the error is raised."""
    engine = chosen(monkeypatch, "3 workers", chunk=10)
    params, x, y = problem(40, 30, 20, n=100, dtype=np.float32)
    it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    it.run(range(100))
    monkeypatch.setattr(it.pace, "next", lambda: (3, 100))
    start, count = threading.Thread.start, itertools.count()
    refusing = lambda self: start(self) if next(count) == 0 else refuse()  # noqa: E731
    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(RuntimeError, match="refused"):
        it.run(range(100))


def test_a_limit_that_cannot_be_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """If BLAS cannot be limited, no worker waits for the ones that stopped."""
    engine = chosen(monkeypatch, "2 workers")
    params, x, y = problem(40, 30, 20, n=100, dtype=np.float32)
    it = engine(params, init_velocity(params), x, y, Config())
    monkeypatch.setattr(serial_blas, "limit", refuse)
    with pytest.raises(RuntimeError, match="refused"):
        it.run(range(100))


def test_blas_has_one_thread_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """BLAS has one thread while the engine runs, and as many as before afterwards."""
    pools, seen, train = serial_blas.pools, [], workers.train

    def looking(*args: Any) -> None:
        seen.append({pool.num_threads for pool in pools})
        train(*args)

    params, x, y = problem(4, 3, 2)
    engine = WorkersEngine(params, init_velocity(params), x, y, Config())
    monkeypatch.setattr(workers, "train", looking)
    with threadpool_limits(2, user_api="blas"):
        engine.run(range(7))
        assert {pool.num_threads for pool in pools} == {2}
    assert seen == [{1}]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("length", [0, 20, 40, 70, 1000])
@pytest.mark.parametrize(("batch_size", "n"), [(7, 100), (35, 100), (None, 100), (61, 200)])
def test_slices_of_a_run_end_where_chunks_end(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, length: int, batch_size: int | None, n: int
) -> None:
    """Slices cover a run, and each ends at the end of a chunk of its batch."""
    engine = chosen(monkeypatch, "3 workers", chunk=10)
    params, x, y = problem(4, 3, 2, n=n)
    it = engine(
        params, init_velocity(params), abs(x).astype(dtype), y, Config(batch_size=batch_size)
    )
    start, batch = 0, batch_size or n
    while start < n:
        stop = it._stop(start, length, n)
        assert start < stop <= n
        assert stop == n or stop % batch % it.chunk == 0
        start = stop


@pytest.mark.parametrize("sizes", [(40, 10), (40, 30, 10)])
def test_losses_of_many_small_batches_are_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    """No thread writes its sums for a batch while another one still reads those of the last."""
    engine = chosen(monkeypatch, "4 workers")
    params, x, y = problem(*sizes, n=1600, dtype=np.float32)
    losses = []
    for threads in (1, 4, 4, 4):
        it = engine(params, init_velocity(params), x, y, Config(batch_size=8, l2=1.0))
        monkeypatch.setattr(it.pace, "next", lambda t=threads: (t, 1600))
        losses.append(it.run(range(1600)))
    assert losses[0] == losses[1] == losses[2] == losses[3]


@pytest.mark.parametrize("batch_size", [5, 50, None])
def test_number_of_threads_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, batch_size: int | None
) -> None:
    """The workers decide what is computed; how many threads do their work does not."""
    engine = chosen(monkeypatch, "5 workers", chunk=10)
    params, x, y = problem(20, 15, 10, 5, n=352, dtype=np.float32)
    results = []
    for threads in range(1, 6):
        it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
        monkeypatch.setattr(it.pace, "next", lambda t=threads: (t, 60))
        results.append(bits(it, range(352)))
    assert all(result == results[0] for result in results)


def test_pace_goes_on_with_the_number_of_threads_that_was_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half as many threads are tried, and twice as many again, for an eighth of a slice."""
    clock = itertools.count(1, 2)  # each look at it takes two seconds
    monkeypatch.setattr(workers, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    pace = workers.Pace(4)
    assert pace.next() == (4, 0)
    pace.measure(4, 128, seconds=128 * 2e-5)
    assert pace.next() == (4, 1024)  # a slice becomes at most eight times as long
    pace.measure(4, 1024, seconds=1024 * 2e-5)
    assert pace.next() == (2, 5000 // 8)
    pace.measure(2, 625, seconds=625 * 1e-5)
    assert (pace.threads, pace.length) == (2, 10_000)
    assert pace.next() == (4, 1250)
    pace.measure(4, 1250, seconds=1250 * 3e-5)
    assert pace.next() == (1, 1250)
    pace.measure(1, 1250, seconds=1250 * 2e-5)
    assert pace.threads == 2
    pace.measure(2, 10_000, seconds=10_000 * 4e-5)  # another process has come
    assert (pace.threads, pace.length) == (1, 5000)


def test_quick_runs_may_be_many() -> None:
    """The length of slices grows while they are quick, and stays bounded."""
    params, x, y = problem(4, 3, 2)
    it = WorkersEngine(params, init_velocity(params), x, y, Config())
    for _ in range(500):
        it.run(range(7))
    assert it.pace.length <= workers.EXAMPLES


def test_training_goes_by_the_fastest_engine_for_the_arrays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dtype and the installed extra choose the engine."""
    assert training.engine_class(np.zeros(1, np.float32)) is WorkersEngine
    assert training.engine_class(np.zeros(1, np.float64)) is WorkersEngine
    for dtype in (np.float16, np.longdouble, ">f4"):
        assert training.engine_class(np.zeros(1, dtype)) is InplaceEngine
    monkeypatch.delattr(engines, "workers")
    monkeypatch.setitem(sys.modules, "purenet.engines.workers", None)
    assert training.engine_class(np.zeros(1, np.float32)) is InplaceEngine


def test_waits_are_compiled_to_atomic_instructions() -> None:
    """Arriving is one atomic addition, and looking is a load that no later load passes."""

    def all_four(counter: Any) -> Any:
        atomics.pause()
        atomics.give_way()
        return atomics.fetch_add(counter) + atomics.load_acquire(counter)

    compiled: Any = njit(all_four)
    counter = np.array([5])
    assert compiled(counter) == all_four(np.array([5])) == 5 + 6
    assert counter == [6]
    (code,) = compiled.inspect_llvm().values()
    assert re.search("atomicrmw add .* acq_rel", code)
    assert re.search("load atomic .* acquire", code)
    assert "fence seq_cst" in code
    assert "sched_yield" in code


def test_giving_way_is_nothing_where_the_system_has_no_such_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Windows a waiting thread only spins."""
    monkeypatch.setattr(atomics, "os", SimpleNamespace(name="nt"))

    def only() -> None:
        atomics.give_way()

    compiled: Any = njit(only)
    compiled()
    (code,) = compiled.inspect_llvm().values()
    assert "sched_yield" not in code


def test_an_extra_that_cannot_be_used_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Training goes on without a Numba that is broken, and a warning says so."""
    monkeypatch.delattr(engines, "workers")
    monkeypatch.delitem(sys.modules, "purenet.engines.workers")
    monkeypatch.setitem(sys.modules, "numba", ModuleType("numba"))
    assert training.engine_class(np.zeros(1, np.float32)) is InplaceEngine
    (message,) = caplog.messages
    assert message.startswith("the extra `fast` cannot be used: cannot import name 'njit'")


def test_compiling_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that has to compile says so, before it trains; the next one does not."""
    if not hasattr(workers.train, "py_func"):
        return  # Python interprets
    other: Any = njit(lambda: None)  # it compiles other functions with it, each of which starts

    @njit
    def train(*_: Any) -> None:
        other()

    monkeypatch.setattr(workers, "train", train)
    params, x, y = problem(4, 3, 2, dtype=np.float64)
    with caplog.at_level("INFO"):
        for _ in range(2):
            WorkersEngine(params, init_velocity(params), x, y, Config())
    assert caplog.messages == ["compiling for float64, once: this takes some seconds"]


def test_functions_are_compiled_where_nothing_can_be_cached() -> None:
    """A function without a source file is compiled, and kept in memory only."""
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", names)
    assert workers.cached(names["twice"])(2) == 4


@pytest.mark.parametrize("batch_size", [128, None])
def test_threads_train_as_the_pure_functions_on_images(batch_size: int | None) -> None:
    """On MNIST the workers differ from the NumPy engine by rounding."""
    (x, y), _ = datasets.mnist()
    x, y = x[:3000], y[:3000]
    params, cfg = init([784, 200, 50, 10], dtype=np.float64), Config(batch_size=batch_size)
    results = []
    for engine in (WorkersEngine, InplaceEngine):
        it = engine(params, init_velocity(params), x, y, cfg)
        results.append(([*it.run(range(1280)), *it.run(range(3000))], it.snapshot()[0]))
    (losses, ours), (expected, theirs) = results
    # 34 steps of sums of up to 3,000 terms
    tolerance = 34 * 3000 * np.finfo(float).eps
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    for name, p in theirs.items():
        np.testing.assert_allclose(ours[name], p, rtol=0, atol=tolerance)
