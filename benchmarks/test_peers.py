"""purenet against other libraries: the same network, data, order and step, separate processes."""

from contextlib import ExitStack
from importlib.util import find_spec

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contestants import Task
from benchmarks.peers import LIBRARIES
from benchmarks.processes import CORES, ContestantProcess, compare

PEERS: list[str] = [
    "train_numpy",
    "pure",
    "listing",
    *(name for name, library in LIBRARIES.items() if find_spec(library)),
]


def contest(
    benchmark: BenchmarkFixture, names: list[str], task: Task, rounds: int, threads: int = CORES
) -> None:
    """Time purenet's engine and its peers, and check that their losses agree."""
    with ExitStack() as stack:
        processes = {
            n: stack.enter_context(ContestantProcess(n, task, threads)) for n in ["train", *names]
        }
        figures = compare(benchmark, processes, rounds)
    losses = [figure["loss"] for figure in figures.values()]
    # Training in float32 amplifies rounding; test_same_steps is the exact check.
    np.testing.assert_allclose(losses, losses[0], rtol=0.1)


@pytest.mark.parametrize("batch_size", [128, None])
def test_same_steps(benchmark: BenchmarkFixture, batch_size: int | None) -> None:
    """In float64 all contestants reach the same loss up to rounding.

    Thirty steps amplify rounding less than 1e4 times. All batches have the same size here, because
    the penalty of scikit-learn depends on the size of the batch.
    """
    task = Task(dtype="float64", n=1280, batch_size=batch_size, shuffle=batch_size is not None)
    with ExitStack() as stack:
        processes = {n: stack.enter_context(ContestantProcess(n, task)) for n in ["train", *PEERS]}

        def run() -> dict[str, float]:
            for process in processes.values():
                for _ in range(3):
                    process.seconds()
            return {name: process.ask("result")["loss"] for name, process in processes.items()}

        losses = benchmark.pedantic(run)  # type: ignore[no-untyped-call]
    benchmark.extra_info["losses"] = losses
    np.testing.assert_allclose(
        list(losses.values()), losses["train"], rtol=1e4 * np.finfo(float).eps
    )


def test_mini_batch(benchmark: BenchmarkFixture, *, quick: bool) -> None:
    """Time an epoch: batches of 128, float32, all cores."""
    contest(benchmark, PEERS, Task(), rounds=3 if quick else 9)


def test_one_thread(benchmark: BenchmarkFixture, *, quick: bool) -> None:
    """Time an epoch: batches of 128, float32, one core."""
    contest(benchmark, PEERS, Task(), rounds=2 if quick else 5, threads=1)


def test_full_batch(benchmark: BenchmarkFixture, *, quick: bool) -> None:
    """Time a step on all 60,000 examples, in their order in memory."""
    names = [name for name in PEERS if name != "jax_scan"]  # one batch: nothing to scan
    contest(benchmark, names, Task(batch_size=None, shuffle=False), rounds=3 if quick else 9)


def test_composed_by_hand(benchmark: BenchmarkFixture, *, quick: bool) -> None:
    """Time a hundred steps on batches of 128, in their order in memory."""
    names: list[str] = [name for name in ("pure", "torch_eager") if name in PEERS]
    contest(benchmark, names, Task(n=12_800, shuffle=False), rounds=5 if quick else 25)
