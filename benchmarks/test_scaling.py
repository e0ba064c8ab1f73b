"""The cost of training as network, batch and data grow, up to 100 million parameters."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from purenet import Config, init, init_velocity
from purenet.engines.workers import WorkersEngine
from purenet.files import datasets

# Name: units of the layers, batch size, number of examples.
CASES = {
    **{f"width {w}": ([784, w, w, 10], 128, 128) for w in (256, 512, 1024, 2048, 4096, 9600)},
    **{f"depth {d}": ([784, *[256] * d, 10], 128, 128) for d in (4, 8, 16, 32, 64)},
    **{f"batch {b}": ([784, 200, 50, 10], b, b) for b in (512, 1024, 2048, 4096, 8192, 16384)},
    **{f"data {n}": ([784, 200, 50, 10], 128, n) for n in (3750, 7500, 15000, 30000, 60000)},
}


@pytest.mark.parametrize("case", CASES)
def test_scaling(benchmark: BenchmarkFixture, case: str, *, quick: bool) -> None:
    sizes, batch_size, n = CASES[case]
    (x, y), _ = datasets.mnist()
    params = init(sizes)
    count = sum(p.size for p in params.values())
    cfg = Config(batch_size=batch_size, learning_rate=0.01)
    engine = WorkersEngine(params, init_velocity(params), x, y, cfg)
    del params
    rows = np.random.default_rng(0).permutation(len(x))[:n]
    rounds = 3 if quick or count > 1e7 else 15
    losses = benchmark.pedantic(engine.run, (rows,), rounds=rounds, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert np.isfinite(losses).all()
    benchmark.extra_info["parameters"] = count
