"""Batch against mini-batch: one epoch of the report's network on MNIST, per batch size."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from purenet import Config, datasets, init, init_velocity
from purenet.engines.numpy import NumpyEngine


@pytest.mark.parametrize("batch_size", [32, 128, 512, 2048, 8192, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_epoch(benchmark: BenchmarkFixture, batch_size: int | None, dtype: type) -> None:
    (x, y), _ = datasets.mnist()
    params = init([784, 200, 50, 10], dtype=dtype)
    engine = NumpyEngine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    rows = np.random.default_rng(0).permutation(len(x))
    losses = benchmark.pedantic(engine.run, (rows,), rounds=3, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert np.isfinite(losses).all()
