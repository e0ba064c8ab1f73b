"""An epoch beside another process that keeps one core busy, however many threads are asked for."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contestants import Task
from benchmarks.processes import ContestantProcess, compare

THREADS = (1, 2, 4, 8, 16)


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep one core busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["train", "train_numpy"])
def test_epoch_beside_a_busy_process(
    benchmark: BenchmarkFixture, name: str, *, quick: bool
) -> None:
    """Ratios are to one thread. BLAS is asked for as many threads as the key says."""
    with ExitStack() as stack:
        processes = {
            str(t): stack.enter_context(ContestantProcess(name, Task(), t)) for t in THREADS
        }
        stack.enter_context(busy_process())
        compare(benchmark, processes, rounds=3 if quick else 9)
