"""Contestants in processes of their own, which take turns.

In one process, the thread pool of one library would keep spinning while another library works. So
each contestant has its own process. It waits on a pipe, without busy threads, until it is told to
run an epoch, and measures the time itself.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_info

from benchmarks import contestants, peers
from benchmarks.contestants import Task
from purenet import loss

CORES = len(os.sched_getaffinity(0))
THREADS = ("OPENBLAS", "OMP", "MKL", "NUMBA", "VECLIB_MAXIMUM")
KIB = 1024
PAUSE = 0.2  # seconds; OpenBLAS keeps spinning for 0.1 s after a product


class ContestantProcess:
    """A contestant in a process of its own."""

    def __init__(self, name: str, task: Task, threads: int = CORES) -> None:
        self.name = name
        environment = os.environ | {f"{pool}_NUM_THREADS": str(threads) for pool in THREADS}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.processes",
                name,
                json.dumps(asdict(task)),
                str(threads),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=environment,
        )

    def ask(self, question: str) -> Any:
        """Send a question, one word, and return the answer of the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        return json.loads(answer)

    def seconds(self) -> float:
        """Run an epoch and return its time in seconds."""
        sleep(PAUSE)
        return float(self.ask("epoch"))

    def __enter__(self) -> "ContestantProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def compare(
    benchmark: BenchmarkFixture, processes: Mapping[str, ContestantProcess], rounds: int
) -> dict[str, dict[str, Any]]:
    """Time processes and return their figures. Ratios are to the time of the first process.

    In each round every process runs one epoch, in shuffled order. pytest-benchmark times the first
    process; the others take their turns in its setup function.
    """
    first, *_ = processes
    for process in processes.values():
        process.seconds()  # warm-up: compile code and touch memory
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    rng = np.random.default_rng(0)
    turns = iter([name for _ in range(rounds) for name in rng.permutation(list(processes))])

    def run_up_to_the_first() -> None:
        for name in turns:
            if name == first:
                break
            seconds[name].append(processes[name].seconds())

    def run_the_first() -> None:
        seconds[first].append(processes[first].seconds())

    benchmark.pedantic(run_the_first, setup=run_up_to_the_first, rounds=rounds)  # type: ignore[no-untyped-call]
    run_up_to_the_first()  # the processes after the first one in the last round
    figures = {}
    for name, process in processes.items():
        ratios = np.divide(seconds[name], seconds[first])
        figures[name] = {
            "seconds": median(seconds[name]),
            "seconds IQR": _iqr(seconds[name]),
            "ratio": median(ratios),
            "ratio IQR": _iqr(ratios),
            **process.ask("result"),
            "pools": process.ask("pools"),
        }
    benchmark.extra_info["contestants"] = figures
    return figures


def anonymous_memory() -> int:
    """Return how many bytes of this process are in memory without a file behind them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * KIB
    raise OSError("no RssAnon in /proc/self/status")


def _iqr(numbers: Sequence[float] | NDArray[Any]) -> float:
    low, high = np.percentile(numbers, [25, 75])
    return float(high - low)


def work(name: str, task: Task, threads: int) -> None:
    """Answer the questions on stdin, one per line, with JSON on stdout."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    epoch, params = getattr(peers if name in peers.LIBRARIES else contestants, name)(task)
    epochs_done, training_loss, anonymous = 0, 0.0, 0

    def pools() -> list[dict[str, Any]]:
        keys = ("user_api", "internal_api", "version", "num_threads")
        return [{key: pool[key] for key in keys} for pool in threadpool_info()]

    def run() -> float:
        nonlocal epochs_done, training_loss, anonymous
        rows = task.rows(epochs_done)
        start = perf_counter()
        training_loss = epoch(rows)
        seconds = perf_counter() - start
        epochs_done += 1
        anonymous = max(anonymous, anonymous_memory())  # counts `rows` too
        return seconds

    def result() -> dict[str, float]:
        """Return figures of the training.

        For every contestant `purenet.loss` computes the loss, in float64 on 10,000 images.
        """
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        figures: dict[str, float] = {
            "epochs": epochs_done,
            "peak bytes": peak,
            "anonymous bytes": anonymous,
            "training loss": training_loss,
        }
        if trained := {k: np.asarray(p, float) for k, p in params().items()}:
            x, y = task.floats("float64")
            x, y = x[:10_000], y[:10_000]
            figures["loss"] = float(loss(trained, x, y, l2=task.cfg.l2))
        return figures

    questions: dict[str, Callable[[], Any]] = {"pools": pools, "epoch": run, "result": result}
    for line in sys.stdin:
        print(json.dumps(questions[line.strip()]()), flush=True)


if __name__ == "__main__":
    work(sys.argv[1], Task(**json.loads(sys.argv[2])), int(sys.argv[3]))
