"""An epoch against its matrix products alone, and these against one large product."""

from contextlib import ExitStack
from itertools import pairwise

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.contestants import Task
from benchmarks.processes import CORES, ContestantProcess, compare


@pytest.mark.parametrize(
    ("batch_size", "dtype", "threads"),
    [
        (128, "float32", CORES),
        (128, "float64", CORES),
        (None, "float32", CORES),
        (None, "float64", CORES),
        (128, "float32", 1),
    ],
)
def test_floor(
    benchmark: BenchmarkFixture, batch_size: int | None, dtype: str, threads: int, *, quick: bool
) -> None:
    """Ratios are to the products alone."""
    task = Task(batch_size=batch_size, dtype=dtype, shuffle=batch_size is not None)
    names = ["products", "train", "train_numpy", "gemm"]
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(ContestantProcess(name, task, threads)) for name in names
        }
        figures = compare(benchmark, processes, rounds=2 if quick else 7)
    layers = [a * b for a, b in pairwise(task.sizes)]
    of_products = 2 * task.n * (3 * sum(layers) - layers[0])  # the first layer passes no δ back
    for name, figure in figures.items():
        flops = 2 * 4096**3 if name == "gemm" else of_products
        figure["GFLOP/s"] = flops / figure["seconds"] / 1e9
