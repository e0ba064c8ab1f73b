"""Measure the engines for JAX and for MPI, and print the tables of docs/scale.md.

    python -m benchmarks.scale

It needs JAX, mpi4py and ``mpirun``. It calls itself in the processes of ``mpirun``.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.contestants import Task
from benchmarks.processes import ContestantProcess
from purenet import Config, datasets, init, init_velocity, train
from purenet.engines.mpi import MpiEngine
from purenet.params import fingerprint

ROUNDS, GB = 9, 10**9
NETWORKS = {
    "784-200-50-10": ([784, 200, 50, 10], 200),
    "784-4096-4096-10": ([784, 4096, 4096, 10], 6),
}
ON_JAX = {
    "train_jax": "`train`, data on the device",
    "train_jax_streamed": "`train`, data in NumPy arrays",
    "jax_scan": "hand-written `lax.scan`",
    "reference_on_jax": "the pure functions without compilation",
}


def table(*rows: tuple[Any, ...]) -> None:
    """Print a table, whose first row is its head."""
    head, *rest = rows
    for row in (head, ("---", *["--:"] * (len(head) - 1)), *rest):
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    print()


def jax_engine() -> None:
    """Compare an epoch of MNIST by the engine for JAX with other ways to train with JAX."""
    with ExitStack() as stack:
        contestants = {n: stack.enter_context(ContestantProcess(n, Task())) for n in ON_JAX}
        seconds: dict[str, list[float]] = {name: [] for name in ON_JAX}
        for process in contestants.values():
            process.seconds()  # compiles
        rng = np.random.default_rng(0)
        for turn in range(ROUNDS):
            for name in rng.permutation(list(ON_JAX)):
                if name != "reference_on_jax" or turn < 1:
                    seconds[name].append(contestants[name].seconds())
        peaks = {name: process.ask("result")["peak bytes"] for name, process in contestants.items()}
    rows = []
    for name, title in ON_JAX.items():
        ratios = np.divide(seconds[name], seconds["jax_scan"][: len(seconds[name])])
        low, high = np.percentile(ratios, [25, 75])
        ratio = f"{median(ratios):.2f} ± {(high - low) / 2:.2f} ×"
        rows.append((title, f"{median(seconds[name]):.2f} s", ratio, f"{peaks[name] / 1e6:.0f} MB"))
    table(("an epoch of MNIST", "seconds", "to `lax.scan`", "peak memory"), *rows)


def larger_than_memory() -> None:
    """Stream a sparse file of 20 GB to JAX."""
    sizes = (7840, 32, 10)
    n = 20 * GB // sizes[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        with path.open("wb") as file:
            file.truncate(n * sizes[0])
        task = Task(sizes=sizes, n=n, batch_size=128, path=str(path))
        with ContestantProcess("jax_on_file", task) as process:
            records = -(-n // 128 // 1000) + 1
            seconds = sum(process.seconds() for _ in range(records))
            anonymous = process.ask("result")["anonymous bytes"]
    table(
        ("an epoch of", "seconds", "GB/s", "anonymous memory"),
        (
            f"20 GB in {n:,} rows",
            f"{seconds:.0f}",
            f"{20 / seconds:.2f}",
            f"{anonymous / 1e6:.0f} MB",
        ),
    )


def in_processes(processes: int, *arguments: str) -> Any:
    """Return what the first of several processes prints as JSON."""
    root = {f"OMPI_ALLOW_RUN_AS_ROOT{end}": "1" for end in ("", "_CONFIRM")}
    command = [
        "mpirun",
        "--oversubscribe",
        "-n",
        str(processes),
        sys.executable,
        "-m",
        "benchmarks.scale",
    ]
    threads = {"OPENBLAS_NUM_THREADS": "1"}
    environment = os.environ | root | threads
    done = subprocess.run(
        [*command, *arguments], env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def worker(name: str, batch: int) -> None:
    """Time steps in this process of ``mpirun``; the first one prints what it measured."""
    from mpi4py import MPI  # noqa: PLC0415  # starts MPI

    comm, (sizes, steps) = MPI.COMM_WORLD, NETWORKS[name]
    params, (x, y) = init(sizes), datasets.mnist()[0]
    cfg = Config(batch_size=batch, shards=2)
    engine = MpiEngine(params, init_velocity(params), x, y, cfg, comm)
    spent = {"exchange": 0.0}

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments)
            spent["exchange"] += time.perf_counter() - start
            return result

        return call

    engine._wait = timed(engine._wait)  # type: ignore[method-assign]
    rows: Any = np.random.default_rng(0).permutation(len(x))[: steps * batch]
    engine.run(rows[: 2 * batch])
    results = []
    for _ in range(3):
        comm.Barrier()
        spent["exchange"], start = 0.0, time.perf_counter()
        engine.run(rows)
        step = (time.perf_counter() - start) / steps
        results.append({"step": step, "exchange": spent["exchange"] / steps})
    if comm.Get_rank() == 0:
        print(json.dumps(min(results, key=lambda result: result["step"])))


def mpi_engine() -> None:
    """Compare two processes with one, at equal work per process and at equal batches."""
    rows = []
    comparisons = {"weak": ((1, 128), (2, 256)), "strong": ((1, 256), (2, 256))}
    for name, (sizes, _) in NETWORKS.items():
        found: dict[tuple[int, int], list[Any]] = {(1, 128): [], (1, 256): [], (2, 256): []}
        for _ in range(3):
            for key, results in found.items():
                processes, batch = key
                results.append(in_processes(processes, "worker", name, str(batch)))
        step = {key: median(result["step"] for result in found[key]) for key in found}
        exchange = median(r["exchange"] / r["step"] for r in found[2, 256])
        parameters = sum(p.size for p in init(sizes).values())
        for title, (one, two) in comparisons.items():
            cells = [f"{1e3 * step[key]:.2f} ms, {key[1]}" for key in (one, two)]
            efficiency = step[one] / step[two] / (1 if title == "weak" else 2)
            rows.append(
                (f"{parameters:,}, {title}", *cells, f"{efficiency:.2f}", f"{exchange:.0%}")
            )
    table(
        ("parameters, scaling", "1 process: step, batch", "2 processes", "efficiency", "exchange"),
        *rows,
    )


def bits() -> None:
    """Print a hash of the parameters after three epochs on 1, 2 and 4 processes."""
    rows = [(processes, in_processes(processes, "hash")) for processes in (1, 2, 4)]
    table(("processes", "BLAKE2b of parameters and velocity"), *[(n, f"`{h}`") for n, h in rows])


def hash_worker() -> None:
    """Train three epochs of MNIST with four shards, and print a hash of the result."""
    from mpi4py import MPI  # noqa: PLC0415  # starts MPI

    start, cfg = init([784, 200, 50, 10]), Config(epochs=3, shards=4)
    result = train(start, datasets.mnist()[0], cfg, comm=MPI.COMM_WORLD)
    if MPI.COMM_WORLD.Get_rank() == 0:
        arrays = [*result.params.values(), *result.state.velocity.values()]
        print(json.dumps(fingerprint(*arrays).rpartition(" ")[2]))


def model() -> None:
    """Print the batch for each process from which R processes have an efficiency of 0.8."""
    flops, per_parameter, bandwidth, latency = 100e9, 4e-9, 5.4e9, 70e-6  # measured; see the page
    rows = []
    for size in (167_560, 20_037_642, 10**9):
        cells = []
        for processes in (2, 16, 128, 1024):
            exchange = 8 * size * (1 - 1 / processes) / bandwidth
            exchange += 2 * np.log2(processes) * latency
            batch = max(1, flops / 6 * (4 * exchange / size - per_parameter))
            seconds = size * (6 * batch / flops + per_parameter) + exchange
            cells.append(f"{batch:.2g}, {seconds:.2g} s")
        rows.append((f"{size:,} parameters", *cells))
    table(("batch for each process, step", "2", "16", "128", "1,024 processes"), *rows)


def main() -> None:
    """Run the sections that are named, or all."""
    sections: dict[str, Callable[[], None]] = {
        "jax": jax_engine,
        "mpi": mpi_engine,
        "bits": bits,
        "file": larger_than_memory,
        "model": model,
    }
    for name in sys.argv[1:] or sections:
        sections[name]()


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["hash"]:
        hash_worker()
    else:
        main()
