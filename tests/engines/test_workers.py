"""The compiled engine alone: its workers, and what they do with bits and interruptions."""

import itertools
import sys
import threading
from typing import Any

import numpy as np
import pytest
from numba import njit
from threadpoolctl import threadpool_limits

from purenet import Config, engines, init, init_velocity, training
from purenet.engines import compiled
from purenet.engines.inplace import InplaceEngine
from purenet.engines.threads import serial_blas
from purenet.engines.workers import WorkersEngine
from purenet.files import datasets
from tests.engines.test_engines import Threads, chosen
from tests.support.problems import problem


def bits(engine: Any, rows: Any, cuts: Any = ()) -> tuple[Any, ...]:
    """Return losses and parameters of a run, which may be cut into runs."""
    losses = [loss for part in np.split(np.asarray(rows), cuts) for loss in engine.run(part)]
    return (losses, *(p.tobytes() for p in engine.params.values()))


@pytest.mark.parametrize("batch_size", [5, 50])
@pytest.mark.parametrize("name", ["1 worker", "2 workers", "4 workers"])
def test_runs_are_one_in_every_bit_however_they_are_cut(
    monkeypatch: pytest.MonkeyPatch, name: str, batch_size: int
) -> None:
    """Workers meet in any order, runs are cut at any batch, and slices at any chunk."""
    engine = chosen(monkeypatch, name, chunk=10)
    params, x, y = problem(20, 15, 10, 5, n=352, dtype=np.float32)
    rows, cfg = np.random.default_rng(0).permutation(352), Config(batch_size=batch_size)

    def run(seconds: float, *cuts: int) -> Any:
        monkeypatch.setattr(compiled, "SECONDS", seconds)
        return bits(engine(params, init_velocity(params), x, y, cfg), rows, cuts)

    expected = run(1e9)
    assert all(run(1e9) == expected for _ in range(5))
    assert run(1e-3, 50, 300) == expected
    assert run(0) == expected


def test_workers_own_weights_of_a_network_that_is_worth_them() -> None:
    """As many as BLAS has threads, but one for a small network."""
    for sizes, most in (([784, 200, 10], 64), ([20, 10], 1)):
        params, x, y = problem(*sizes, n=200, dtype=np.float32)
        with serial_blas as threads:
            pass
        engine = WorkersEngine(params, init_velocity(params), x, y, Config())
        assert len(engine.net.arrived) == min(threads, most)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of Python, if it interprets
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(("function", "batch_size"), [("together", 10), ("apart", None)])
def test_nobody_waits_for_a_worker_that_has_left(
    monkeypatch: pytest.MonkeyPatch, who: int, function: str, batch_size: int | None
) -> None:
    """An exception, as Ctrl-C in the main thread, is raised, and no thread is left behind."""
    engine = chosen(monkeypatch, "2 workers", chunk=10)
    params, x, y = problem(40, 30, 20, n=100, dtype=np.float32)
    real = getattr(compiled, function)

    def leaving(net: Any, *args: Any) -> None:
        if net.h == who:
            raise KeyboardInterrupt
        real(net, *args)

    monkeypatch.setattr(compiled, function, leaving)
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
    """Those that have started do not wait for it."""
    engine = chosen(monkeypatch, "3 workers", chunk=10)
    params, x, y = problem(40, 30, 20, n=100, dtype=np.float32)
    it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    it.run(range(100))
    start, count = threading.Thread.start, itertools.count()
    refusing = lambda self: start(self) if next(count) == 0 else refuse()  # noqa: E731
    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(RuntimeError, match="refused"):
        it.run(range(100))


def test_a_limit_that_cannot_be_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the threads that it stopped."""
    engine = chosen(monkeypatch, "2 workers")
    params, x, y = problem(40, 30, 20, n=100, dtype=np.float32)
    it = engine(params, init_velocity(params), x, y, Config())
    monkeypatch.setattr(Threads, "limit", refuse)
    with pytest.raises(RuntimeError, match="refused"):
        it.run(range(100))


def test_blas_has_one_thread_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """And afterwards those that it had."""
    pools, seen, together = serial_blas.pools, [], compiled.together

    def looking(*args: Any) -> None:
        seen.append({pool.num_threads for pool in pools})
        together(*args)

    monkeypatch.setattr(compiled, "together", looking)
    params, x, y = problem(4, 3, 2)
    with threadpool_limits(2, user_api="blas"):
        WorkersEngine(params, init_velocity(params), x, y, Config()).run(range(7))
        assert {pool.num_threads for pool in pools} == {2}
    assert seen == [{1}]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("length", [0, 20, 40, 70, 1000])
@pytest.mark.parametrize(("batch_size", "n"), [(7, 100), (35, 100), (None, 100), (61, 200)])
def test_slices_are_whole_batches_or_have_a_chunk_for_each_worker(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, length: int, batch_size: int | None, n: int
) -> None:
    """Until the batch ends; and they cover the run."""
    engine = chosen(monkeypatch, "3 workers", chunk=10)
    params, x, y = problem(4, 3, 2, n=n)
    x = abs(x).astype(dtype)
    it = engine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    it.length, start, batch = length, 0, batch_size or n
    while start < n:
        stop = it._stop(start, n)
        assert start < stop <= n
        whole = (stop % batch == 0 or stop == n) and (start % batch == 0 or stop - start < batch)
        assert whole or (stop - start) % (3 * it.chunk) == 0
        assert whole or stop // batch == start // batch
        start = stop


def test_quick_runs_may_be_many() -> None:
    """The length of slices, which grows as long as they are quick, stays bounded."""
    params, x, y = problem(4, 3, 2)
    it = WorkersEngine(params, init_velocity(params), x, y, Config())
    for _ in range(500):
        it.run(range(7))
    assert it.length <= 8 * compiled.EXAMPLES


def test_training_goes_by_the_fastest_engine_for_the_arrays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra decides, and the dtype; there is no option."""
    assert training._engine(np.zeros(1, np.float32)) is WorkersEngine
    assert training._engine(np.zeros(1, np.float64)) is WorkersEngine
    for dtype in (np.float16, np.longdouble, ">f4"):
        assert training._engine(np.zeros(1, dtype)) is InplaceEngine
    monkeypatch.delattr(engines, "compiled")
    monkeypatch.setitem(sys.modules, "purenet.engines.workers", None)
    assert training._engine(np.zeros(1, np.float32)) is InplaceEngine


def test_workers_see_what_others_wrote() -> None:
    """A wait is compiled to fences, which no load or store passes, and lets other threads run."""

    def both() -> None:
        compiled.fence()
        compiled.give_way()

    meet: Any = njit(both)
    meet()
    (code,) = meet.inspect_llvm().values()
    assert "fence seq_cst" in code
    assert "sched_yield" in code


def test_functions_are_compiled_where_nothing_can_be_cached() -> None:
    """A function without a file has no place for a cache."""
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", names)
    assert compiled.kept(names["twice"])(2) == 4


@pytest.mark.parametrize("batch_size", [128, None])
def test_threads_train_as_the_pure_functions_on_images(batch_size: int | None) -> None:
    """Ten steps on MNIST, with the threads that there are, differ by rounding from one worker's."""
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
