"""Memory: the allocations of a step, and training on a file that is larger than memory."""

import tracemalloc
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contestants import Task
from benchmarks.processes import ContestantProcess
from purenet import init_velocity
from purenet.engines.workers import WorkersEngine

GB = 10**9


@pytest.mark.parametrize("batch_size", [128, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_allocations_of_a_step(
    benchmark: BenchmarkFixture, batch_size: int | None, dtype: str
) -> None:
    """Trace the memory that a step allocates, and the part of it that it keeps."""
    task = Task(dtype=dtype, batch_size=batch_size)
    params = task.params()
    engine = WorkersEngine(params, init_velocity(params), *task.pixels(), task.cfg)
    rows = task.rows(0)[: batch_size or task.n]
    for _ in range(3):
        engine.run(rows)
    tracemalloc.start()
    benchmark.pedantic(engine.run, (rows,), rounds=1)  # type: ignore[no-untyped-call]
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    losses = engine.run(rows)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del losses
    benchmark.extra_info.update({"kept bytes": after - before, "peak bytes": peak - before})


@pytest.mark.parametrize("order", ["stored", "random"])
def test_file_larger_than_memory(benchmark: BenchmarkFixture, tmp_path: Path, order: str) -> None:
    """Train on 100,000 rows of a sparse, memory-mapped file of 20 GB of pixels."""
    n = 20 * GB // 784
    with (tmp_path / "x").open("wb") as file:
        file.truncate(n * 784)
    task = Task(n=n, shuffle=order == "random", path=str(tmp_path / "x"))
    with ContestantProcess("engine_on_file", task) as process:
        seconds = benchmark.pedantic(process.seconds, rounds=1)  # type: ignore[no-untyped-call]
        benchmark.extra_info.update(
            {"seconds": seconds, "GB": n * 784 / GB} | process.ask("result")
        )
