"""Time to a test accuracy: for each batch size, and from the start of ``purenet train``."""

import json
import subprocess
import sys
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contestants import Task
from purenet import Config, evaluate, init, init_velocity
from purenet.engines import cut
from purenet.engines.workers import WorkersEngine
from purenet.files import datasets

GOALS = (0.90, 0.97, 0.98)
# Among 0.1 · 2^k, the rates that reach the highest goal soonest: `python -m benchmarks rates`.
RATES = {1: 0.00625, 8: 0.05, 32: 0.1, 128: 0.4, 512: 1.6, 2048: 1.6, 8192: 3.2, None: 3.2}


def run_to_goals(
    batch_size: int | None, learning_rate: float, limit: float
) -> tuple[dict[float, tuple[float, float]], float, float]:
    """Train until all goals are reached, or for `limit` seconds.

    Return the epochs and the seconds of training to each goal, and their totals. The test accuracy
    is computed ten times in each of the first three epochs and once in each later epoch. The time
    for this is not counted.
    """
    (x, y), test = datasets.mnist()
    n, size = len(x), batch_size or len(x)
    cfg = Config(batch_size=batch_size, learning_rate=learning_rate)
    params = init([784, 200, 50, 10])
    engine = WorkersEngine(params, init_velocity(params), x, y, cfg)
    reached: dict[float, tuple[float, float]] = {}
    examples, seconds = 0, 0.0
    for epoch in count():
        between_tests = n // 10 if epoch < 3 else n
        for part in cut(Task().rows(epoch), -(-between_tests // size) * size):
            start = perf_counter()
            engine.run(part)
            seconds += perf_counter() - start
            examples += len(part)
            accuracy = evaluate(engine.snapshot()[0], test, input_scale=cfg.input_scale).accuracy
            for goal in GOALS:
                if accuracy >= goal:
                    reached.setdefault(goal, (examples / n, seconds))
            if seconds > limit or len(reached) == len(GOALS):
                return reached, examples / n, seconds
    raise AssertionError("count has no end")


@pytest.mark.parametrize("batch_size", RATES)
def test_batch_size(benchmark: BenchmarkFixture, batch_size: int | None, *, quick: bool) -> None:
    """Train once with the learning rate that suits the batch size."""
    limit = 3 if quick else 15
    reached, epochs, seconds = benchmark.pedantic(  # type: ignore[no-untyped-call]
        run_to_goals, (batch_size, RATES[batch_size], limit)
    )
    benchmark.extra_info.update(
        {
            "learning rate": RATES[batch_size],
            "reached": {f"{goal:.0%}": reached[goal] for goal in reached},
            "epochs": epochs,
            "seconds": seconds,
        }
    )


@pytest.mark.parametrize("batch_size", RATES)
def test_rates(benchmark: BenchmarkFixture, batch_size: int | None) -> None:
    """Train with the learning rate in `RATES`, with half of it and with twice as much."""
    rates = [RATES[batch_size] * factor for factor in (0.5, 1, 2)]

    def run() -> dict[str, object]:
        return {f"{rate:g}": run_to_goals(batch_size, rate, limit=10) for rate in rates}

    benchmark.extra_info["rates"] = benchmark.pedantic(run)  # type: ignore[no-untyped-call]


def test_process(benchmark: BenchmarkFixture, tmp_path: Path, *, quick: bool) -> None:
    """Time `purenet train` from the start of its process to the line that reaches each goal."""
    runs: list[dict[float, float]] = []

    def run() -> None:
        command = [sys.executable, "-m", "purenet", "train", "--json", "--epochs", "20"]
        command += ["--seed", str(len(runs)), "--output", str(tmp_path / str(len(runs)))]
        runs.append({})
        start = perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                for goal in GOALS:
                    if json.loads(line)["test_accuracy"] >= goal:
                        runs[-1].setdefault(goal, perf_counter() - start)
        assert process.returncode == 0

    benchmark.pedantic(run, rounds=1 if quick else 5)  # type: ignore[no-untyped-call]
    benchmark.extra_info["to"] = {
        f"{goal:.0%}": median(reached.get(goal, float("inf")) for reached in runs) for goal in GOALS
    }
    benchmark.extra_info["runs"] = [{f"{g:.0%}": s for g, s in run.items()} for run in runs]
