"""The NumPy engine: what the pure functions say, in place."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purenet import Config, init_velocity
from purenet.engines import fused, plain
from purenet.engines import numpy as numpy_engine
from purenet.engines.numpy import NumpyEngine
from purenet.engines.pure import PureEngine
from tests.support.problems import problem


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n=st.integers(1, 12),
    batch_size=st.none() | st.integers(1, 14),
    chunk=st.sampled_from([1, 3, 1024]),
    kernels=st.sampled_from([plain, fused]),
    dtype=st.sampled_from([np.float32, np.float64]),
    x_dtype=st.sampled_from([np.uint8, np.int16, ">i4", np.float32, np.float64]),
    l2=st.sampled_from([0.0, 0.1]),
    momentum=st.sampled_from([0.0, 0.9]),
    shuffle=st.booleans(),
    seed=st.integers(0, 9),
)
def test_engine_computes_what_the_pure_functions_say(
    sizes: list[int],
    n: int,
    batch_size: int | None,
    chunk: int,
    kernels: Any,
    dtype: Any,
    x_dtype: Any,
    l2: float,
    momentum: float,
    shuffle: bool,  # noqa: FBT001
    seed: int,
) -> None:
    """Two epochs in buffers equal two epochs of `backward` and `momentum_step`, up to rounding."""
    params, x, y = problem(*sizes, n=n, seed=seed, dtype=dtype)
    if np.dtype(x_dtype).kind != "f":
        x = np.abs(10 * x)
    x = x.astype(x_dtype)
    cfg = Config(
        learning_rate=0.1, momentum=momentum, l2=l2, batch_size=batch_size, input_scale=0.1
    )
    velocity = init_velocity(params)
    order: Any = np.random.default_rng(seed).permutation(n) if shuffle else range(n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numpy_engine, "CHUNK", chunk)
        patch.setattr(numpy_engine, "_kernels", lambda _: kernels)
        fast = NumpyEngine(params, velocity, x, y, cfg)
        losses = fast.run(order) + fast.run(order)
    pure = PureEngine(params, velocity, x, y, cfg)
    # at most 24 updates of sums of at most 12 terms, of numbers of order 1 to 10
    tolerance = 24 * 12 * 10 * np.finfo(dtype).eps
    np.testing.assert_allclose(losses, pure.run(order) + pure.run(order), 0, tolerance)
    for ours, theirs in zip(fast.snapshot(), pure.snapshot(), strict=True):
        assert list(ours) == list(theirs)
        for name, p in theirs.items():
            assert ours[name].dtype == dtype
            np.testing.assert_allclose(ours[name], p, rtol=0, atol=tolerance)


def test_snapshot_is_not_written_by_later_steps() -> None:
    """What was handed out stays as it was, and belongs to nobody else."""
    params, x, y = problem(4, 3, 2)
    engine = NumpyEngine(params, init_velocity(params), x, y, Config())
    engine.run(range(7))
    snapshot = engine.snapshot()
    before = [p.copy() for one in snapshot for p in one.values()]
    engine.run(range(7))
    after = [p for one in snapshot for p in one.values()]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kernels", [plain, fused], ids=["plain", "fused"])
@pytest.mark.parametrize("batch_size", [16, 4096, None])
def test_a_step_allocates_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch, batch_size: int | None, kernels: Any
) -> None:
    """After the first epoch, memory in use never grows by more than some small arrays."""
    import tracemalloc

    monkeypatch.setattr(numpy_engine, "_kernels", lambda _: kernels)
    params, x, y = problem(200, 100, 10, n=5000, dtype=np.float32)
    engine = NumpyEngine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    orders: list[Any] = [range(5000), np.random.default_rng(0).permutation(5000)]
    for order in orders:
        engine.run(order)
        tracemalloc.start()
        engine.run(order)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 300_000  # a chunk of x takes 819,200 bytes; masks of a chunk take 102,400


@pytest.mark.parametrize(("batch_size", "rows"), [(16, 16), (4096, 1024), (None, 1024)])
@pytest.mark.parametrize(("kernels", "vectors"), [(plain, 4), (fused, 2)], ids=["plain", "fused"])
def test_memory_is_some_vectors_of_parameters_and_one_chunk(
    monkeypatch: pytest.MonkeyPatch, kernels: Any, vectors: int, batch_size: int | None, rows: int
) -> None:
    """Velocity and parameters, plain: gradient and scratch; raw examples, activations, deltas."""
    import tracemalloc

    monkeypatch.setattr(numpy_engine, "_kernels", lambda _: kernels)
    params, x, y = problem(200, 100, 10, n=5000, dtype=np.float32)
    NumpyEngine(params, init_velocity(params), x, y, Config())  # has Numba compile
    tracemalloc.start()
    _engine = NumpyEngine(params, init_velocity(params), x, y, Config(batch_size=batch_size))
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    numbers = vectors * (201 * 100 + 101 * 10) + rows * (200 + (200 + 100 + 10) + 100)
    assert taken < 4 * numbers + 20_000  # the objects of the arrays take some of that


def test_engine_has_blas_and_numba_work_on_their_types() -> None:
    """SciPy's BLAS and Numba run on float32 and float64, NumPy on other floating-point numbers."""
    for dtype, expected in ((np.float32, fused), (np.float64, fused), (np.longdouble, plain)):
        params, x, y = problem(4, 3, 2, dtype=dtype)
        assert NumpyEngine(params, init_velocity(params), x, y, Config()).kernels is expected


def test_order_of_the_dictionary_changes_no_bit() -> None:
    """Losses, with the penalty, are the same from a file, which has one order."""
    params, x, y = problem(40, 30, 20, n=50, dtype=np.float32)
    other = dict(reversed(params.items()))
    runs = [
        NumpyEngine(p, init_velocity(p), x, y, Config(l2=0.1, batch_size=7)).run(range(50))
        for p in (params, other)
    ]
    assert runs[0] == runs[1]
