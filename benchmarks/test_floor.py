"""How far an epoch is from its matrix products alone, the floor, in rounds that take turns."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from purenet import Config, datasets, init, init_velocity
from purenet.engines import CHUNK
from purenet.engines.numpy import NumpyEngine

SIZES = [784, 200, 50, 10]


def products(params: dict[str, Any], batch: int, times: int) -> Callable[[], None]:
    """Return a function that does the products of as many steps, in buffers of their own."""
    rng, dtype = np.random.default_rng(0), params["W1"].dtype
    a, delta = ([rng.random((batch, size)).astype(dtype) for size in SIZES] for _ in range(2))
    weights = [params[f"W{k}"].copy() for k in (1, 2, 3)]
    grads = [w.copy() for w in weights]

    def run() -> None:
        for _ in range(times):
            for k, w in enumerate(weights):
                np.matmul(a[k], w, out=delta[k + 1])
            for k in (2, 1, 0):
                np.matmul(a[k].T, delta[k + 1], out=grads[k])
                if k:
                    np.matmul(delta[k + 1], weights[k].T, out=delta[k])

    return run


@pytest.mark.parametrize("batch_size", [128, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_epoch_against_its_products(
    benchmark: BenchmarkFixture, batch_size: int | None, dtype: Any
) -> None:
    (x, y), _ = datasets.mnist()
    params = init(SIZES, dtype=dtype)
    engine = NumpyEngine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    chunk = batch_size or CHUNK
    floor = products(params, chunk, len(x) // chunk)
    order: Any = np.random.default_rng(0).permutation(len(x))
    floors: list[float] = []
    epochs: list[float] = []

    def time_floor() -> None:
        start = perf_counter()
        floor()
        floors.append(perf_counter() - start)

    def time_epoch() -> list[float]:
        start = perf_counter()
        losses = engine.run(order)
        epochs.append(perf_counter() - start)
        return losses

    time_epoch()
    epochs.clear()
    losses = benchmark.pedantic(time_epoch, setup=time_floor, rounds=7)  # type: ignore[no-untyped-call]
    ratios = [epoch / floor for epoch, floor in zip(epochs, floors, strict=True)]
    benchmark.extra_info["ratio to the products alone, median"] = round(median(ratios), 2)
    assert np.isfinite(losses).all()
