"""A step and an epoch of the report's network, for each batch size up to full batch."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contestants import Task
from purenet import init_velocity
from purenet.engines.workers import WorkersEngine

BATCH_SIZES = [1, 8, 32, 128, 512, 2048, 8192, None]


def engine(task: Task) -> WorkersEngine:
    params = task.params()
    return WorkersEngine(params, init_velocity(params), *task.pixels(), task.cfg)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_step(benchmark: BenchmarkFixture, batch_size: int | None, dtype: str) -> None:
    """Time steps. Small batches are timed sixteen at a time, because each call starts threads."""
    task = Task(dtype=dtype, batch_size=batch_size)
    steps = 16 if batch_size and batch_size <= 512 else 1
    benchmark.extra_info["updates"] = steps
    it, rows = engine(task), task.rows(0)[: steps * (batch_size or task.n)]
    rounds = 50 if steps > 1 else 10
    losses = benchmark.pedantic(it.run, (rows,), rounds=rounds, warmup_rounds=3)  # type: ignore[no-untyped-call]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_epoch(
    benchmark: BenchmarkFixture, batch_size: int | None, dtype: str, *, quick: bool
) -> None:
    """Time an epoch over shuffled examples, or a tenth of it if a batch is one example."""
    task = Task(dtype=dtype, batch_size=batch_size)
    it, rows = engine(task), task.rows(0)
    if batch_size == 1:
        rows = rows[: len(rows) // 10]
    benchmark.extra_info["examples"] = len(rows)
    benchmark.extra_info["updates"] = -(-len(rows) // (batch_size or len(rows)))
    rounds = 1 if quick else 3
    losses = benchmark.pedantic(it.run, (rows,), rounds=rounds, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert np.isfinite(losses).all()
