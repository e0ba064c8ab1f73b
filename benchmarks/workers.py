"""Contestants in processes of their own, timed in rounds that take turns.

Two libraries in one process would share its threads: pools of one keep spinning while the other
works. So each contestant has a process, which waits on a pipe, without threads at work, until it is
told to run an epoch, and measures the time itself.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_info

from benchmarks import contestants, peers
from benchmarks.contestants import Task
from purenet import loss

CORES = len(os.sched_getaffinity(0))
THREADS = ("OPENBLAS", "OMP", "MKL", "NUMBA", "VECLIB_MAXIMUM")
KIB = 1024
PAUSE = 0.2  # seconds: OpenBLAS spins for a tenth of one after a product


class Worker:
    """A contestant in its process."""

    def __init__(self, name: str, task: Task, threads: int = CORES) -> None:
        self.name = name
        environment = os.environ | {f"{pool}_NUM_THREADS": str(threads) for pool in THREADS}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.workers",
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
        """Send one word and return what the worker answers."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        if not (answer := self.process.stdout.readline()):
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        return json.loads(answer)

    def seconds(self) -> float:
        """Run an epoch, and return its seconds."""
        sleep(PAUSE)
        return float(self.ask("epoch"))

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def compare(
    benchmark: BenchmarkFixture, workers: Mapping[str, Worker], rounds: int
) -> dict[str, dict[str, Any]]:
    """Time workers in rounds that take turns in shuffled order; ratios are to the first of them.

    pytest-benchmark times the first, and lets the others take their turns before it does.
    """
    first, *_ = workers
    for worker in workers.values():
        worker.seconds()  # compiles, and touches its memory
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    rng = np.random.default_rng(0)
    turns = iter([name for _ in range(rounds) for name in rng.permutation(list(workers))])

    def others() -> None:
        for name in turns:
            if name == first:
                break
            seconds[name].append(workers[name].seconds())

    def the_first() -> None:
        seconds[first].append(workers[first].seconds())

    benchmark.pedantic(the_first, setup=others, rounds=rounds)  # type: ignore[no-untyped-call]
    others()
    figures = {}
    for name, worker in workers.items():
        ratios = np.divide(seconds[name], seconds[first])
        figures[name] = {
            "seconds": median(seconds[name]),
            "seconds IQR": _iqr(seconds[name]),
            "ratio": median(ratios),
            "ratio IQR": _iqr(ratios),
            **worker.ask("result"),
            "pools": worker.ask("pools"),
        }
    benchmark.extra_info["contestants"] = figures
    return figures


def anonymous_memory() -> int:
    """Return the bytes of this process in memory that no file holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * KIB
    raise OSError("no RssAnon in /proc/self/status")


def _iqr(numbers: Any) -> float:
    low, high = np.percentile(numbers, [25, 75])
    return float(high - low)


def work(name: str, task: Task, threads: int) -> None:
    """Answer questions from stdin on stdout."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    epoch, params = getattr(peers if name in peers.LIBRARIES else contestants, name)(task)
    done, value, anonymous = 0, 0.0, 0

    def pools() -> Any:
        keys = ("user_api", "internal_api", "version", "num_threads")
        return [{key: pool[key] for key in keys} for pool in threadpool_info()]

    def run() -> float:
        nonlocal done, value, anonymous
        rows = task.rows(done)
        start = perf_counter()
        value = epoch(rows)
        seconds = perf_counter() - start
        done += 1
        anonymous = max(anonymous, anonymous_memory())  # while `rows` is there
        return seconds

    def result() -> dict[str, float]:
        """Return what came of training: loss on 10,000 images in float64, by one function."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        figures: dict[str, float] = {
            "epochs": done,
            "peak bytes": peak,
            "anonymous bytes": anonymous,
        }
        figures["training loss"] = value
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
