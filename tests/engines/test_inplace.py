"""Claims about the NumPy engine alone."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from purenet import Config, init_velocity, predict_proba
from purenet.engines import inplace
from purenet.engines.inplace import InplaceEngine
from purenet.engines.reference import ReferenceEngine
from tests.support.problems import problem


def test_losses_of_float16_are_summed_in_float32() -> None:
    """1,024 losses of 100 are more than float16 holds."""
    params = {"W1": np.array([[0, 100]], np.float16), "b1": np.zeros(2, np.float16)}
    x, y = np.ones((1024, 1), np.float16), np.zeros(1024, int)
    engine = InplaceEngine(params, init_velocity(params), x, y, Config(batch_size=None, l2=0))
    assert engine.run(range(1024)) == [100]


def test_a_float16_gradient_loses_nothing_to_a_small_factor() -> None:
    """(1 - β) / n may be too small for float16. Both factors apply to numbers that it holds."""
    n = 60_000
    params = {"W1": np.zeros((1, 2), np.float16), "b1": np.zeros(2, np.float16)}
    x, y = np.ones((n, 1), np.float16), np.zeros(n, int)
    cfg = Config(batch_size=None, momentum=0.999, l2=0)
    engine = InplaceEngine(params, init_velocity(params), x, y, cfg)
    engine.run(range(n))
    exact = [-0.0005, 0.0005]  # (1 - β) (p - t), the same for all examples
    for v in engine.snapshot()[1].values():
        np.testing.assert_allclose(v.ravel(), exact, rtol=0.1)  # sums of 1,024 float16


@pytest.mark.parametrize("engine", [InplaceEngine, ReferenceEngine])
def test_integers_that_float16_does_not_hold_are_scaled_before_they_are_rounded(
    engine: Any,
) -> None:
    """Pixels of 16 bits train and predict as the scaled numbers, with one rounding to float16."""
    params, _, y = problem(3, 4, 2, n=5, dtype=np.float16)
    x = np.linspace(0, 65535, 15).astype(np.uint16).reshape(5, 3)
    scale = 1 / 65535
    scaled = (x * np.float32(scale)).astype(np.float16)
    cfg = Config(batch_size=2, input_scale=scale)
    runs = [engine(params, init_velocity(params), data, y, cfg) for data in (x, scaled)]
    losses = [it.run(range(5)) for it in runs]
    assert losses[0] == losses[1]
    assert np.isfinite(losses).all()
    for name, p in runs[0].snapshot()[0].items():
        np.testing.assert_array_equal(p, runs[1].snapshot()[0][name])
    of_integers = predict_proba(params, x, input_scale=scale)
    np.testing.assert_array_equal(of_integers, predict_proba(params, scaled))


def test_rows_of_misaligned_data_are_copied_without_the_rest() -> None:
    """`take` would copy all of an array that is not aligned, for each batch."""
    params, x, y = problem(200, 10, n=5000, dtype=np.float32)
    x = np.frombuffer(b"0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    engine = InplaceEngine(params, init_velocity(params), x, y, Config(batch_size=16))
    rows: Any = np.random.default_rng(0).permutation(64)
    engine.run(rows)
    tracemalloc.start()
    engine.run(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 10


@pytest.mark.parametrize(
    ("batch_size", "available", "expected"),
    [
        (119, 64, 1),  # 167,560 parameters and 119 examples: just below the work of one thread
        (239, 64, 2),  # just above that of two
        (1000, 64, 8),
        (None, 64, 8),
        (2000, 64, 8),  # a batch has no more examples than the data
        (None, 4, 4),
    ],
)
def test_number_of_threads_follows_work_and_processors(
    monkeypatch: pytest.MonkeyPatch, batch_size: int | None, available: int, expected: int
) -> None:
    """There are as many threads as processors, unless the work of a batch is too small."""
    monkeypatch.setattr(inplace, "processors", lambda: available)
    params, x, y = problem(784, 200, 50, 10, n=1000, dtype=np.float32)
    engine = InplaceEngine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    assert len(engine.parts) == expected
