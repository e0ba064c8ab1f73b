"""Claims about engines with more workers than processors: rounding, and equal bits under load."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from purenet import Config, backward, init_velocity, momentum_step
from purenet.engines import as_input, inplace, workers
from purenet.engines.inplace import InplaceEngine
from purenet.engines.workers import WorkersEngine
from purenet.testing.error_bounds import backward_bound, step_bound
from tests.support.problems import problem

ENGINES = [InplaceEngine, WorkersEngine]


class Training(NamedTuple):
    """A network, its data, and how it is trained."""

    params: dict[str, Any]
    x: Any
    y: Any
    cfg: Config


def set_workers(patch: pytest.MonkeyPatch, count: int, chunk: int) -> None:
    """Make an engine use so many workers, however small the network, and chunks of this size."""
    for module in (inplace, workers):
        patch.setattr(module, "processors", lambda: count)
        patch.setattr(module, "CHUNK", chunk)
    patch.setattr(inplace, "WORK_PER_THREAD", 1)
    patch.setattr(workers, "WORK_PER_WORKER", 1)
    patch.setattr(workers, "UNITS_PER_WORKER", 1 / 16)  # so that some workers own nothing


def drawn(rng: np.random.Generator) -> Training:
    """Draw a small network of odd widths, and data in any dtype and layout."""
    sizes = (2 * rng.integers(0, 25, rng.integers(2, 6)) + 1).tolist()
    n = int(rng.integers(1, 80))
    params, x, y = problem(
        *sizes, n=n, seed=int(rng.integers(2**32)), dtype=rng.choice(["float32", "float64"])
    )
    kind, scale = (
        rng.choice(["uint8", "int8", ">i2", "uint32", "int64", "float16", "f4", "f8"]),
        1.0,
    )
    if np.dtype(kind).kind != "f":
        largest = min(np.iinfo(kind).max, 2**40)
        x, scale = x / abs(x).max() * largest, 3 / largest
        x = x if np.iinfo(kind).min else abs(x)
    x = x.astype(kind)
    layout = rng.integers(5)
    if layout == 1:
        x = np.asfortranarray(x)
    elif layout == 2:
        x = np.repeat(x, 3, axis=1)[:, 1::3]
    elif layout == 3:
        x = x[::-1, ::-1]
    elif layout == 4:
        x = np.frombuffer(b"0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    cfg = Config(
        learning_rate=0.3,
        momentum=float(rng.choice([0, 0.9])),
        l2=float(rng.choice([0, 0.1])),
        batch_size=int(rng.integers(1, n + 5)) if rng.random() < 0.8 else None,
        input_scale=scale,
    )
    return Training(params, x, y, cfg)


def bits(losses: list[float], engine: Any) -> list[Any]:
    """Return every bit of a run."""
    return [losses, *(p.tobytes() for one in engine.snapshot() for p in one.values())]


def exactly(params: dict[str, Any]) -> dict[str, Any]:
    """Return the same numbers in float64."""
    return {name: p.astype(np.float64) for name, p in params.items()}


def assert_step_is_right(
    training: Training, rows: Any, before: Any, loss: float, after: Any
) -> None:
    """Refuse a step that differs from the definition by more than rounding explains."""
    (p, v), cfg, y = before, training.cfg, training.y[rows]
    x: Any = as_input(p, training.x[rows], cfg.input_scale)
    x = x.astype(p["W1"].dtype)
    value, grads = backward(exactly(p), x.astype(np.float64), y, l2=cfg.l2)
    rates = {"learning_rate": cfg.learning_rate, "momentum": cfg.momentum}
    expected = momentum_step(exactly(p), exactly(v), grads, **rates)

    value_bound, grad_bounds = backward_bound(p, x, y, l2=cfg.l2)
    rounded = {name: g.astype(p[name].dtype) for name, g in grads.items()}
    p_bounds, v_bounds = step_bound(p, v, rounded, **rates)
    # The definition adds β v and the penalty to a finished sum of examples. Here they are terms
    # of one sum, and the examples come in chunks, each with the factor (1 - β) / n: a few roundings
    # more, for which the bounds are doubled.
    assert abs(loss - value) <= 2 * value_bound
    for name in p:
        v_bound = v_bounds[name] + (1 - cfg.momentum) * grad_bounds[name]
        p_bound = p_bounds[name] + cfg.learning_rate * v_bound
        assert np.all(abs(after[1][name] - expected[1][name]) <= 2 * v_bound), f"velocity of {name}"
        assert np.all(abs(after[0][name] - expected[0][name]) <= 2 * p_bound), name


def test_random_configurations_are_within_rounding_of_the_definition(
    monkeypatch: pytest.MonkeyPatch,
    long: bool,  # noqa: FBT001
) -> None:
    """With 2 to 12 workers every step is right, and a run at once has the bits of its batches."""
    rng, configurations = np.random.default_rng(0), 1500 if long else 40
    for number in range(configurations):
        training, count = drawn(rng), int(rng.integers(2, 13))
        params, x, y, cfg = training
        engine: Any = ENGINES[number % 2]
        set_workers(monkeypatch, count, chunk=int(rng.choice([1, 7, 1024])))
        monkeypatch.setattr(workers, "SECONDS", rng.choice([0.0, 1e-4, 1e9]))
        order: Any = rng.permutation(len(x)) if rng.random() < 0.8 else range(len(x))

        it = engine(params, init_velocity(params), x, y, cfg)
        losses, size = [], cfg.batch_size or len(x)
        for start in range(0, len(x), size):
            rows, before = order[start : start + size], it.snapshot()
            losses += it.run(rows)
            assert_step_is_right(training, rows, before, losses[-1], it.snapshot())
        at_once = engine(params, init_velocity(params), x, y, cfg)
        if size < len(x) or cfg.batch_size:
            assert bits(at_once.run(order), at_once) == bits(losses, it), f"configuration {number}"
    print(f"{configurations} configurations")


@pytest.fixture
def load() -> Iterator[None]:
    """Keep the processors busy with four other processes."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(4)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("engine", ENGINES)
def test_repeated_runs_under_load_have_equal_bits(
    monkeypatch: pytest.MonkeyPatch,
    engine: Any,
    long: bool,  # noqa: FBT001
) -> None:
    """For each number of workers from 1 to 16, runs on a busy machine repeat every bit."""
    params, x, y = problem(65, 47, 33, 5, n=700, dtype="float32")
    cfg = Config(batch_size=90, l2=0.1)
    order: Any = np.random.default_rng(0).permutation(len(x))
    repeats, counts = 50 if long else 3, range(1, 17) if long else (1, 2, 5, 16)
    monkeypatch.setattr(workers, "SECONDS", 1e-3)
    monkeypatch.setattr(workers, "TRIAL_EVERY", 1e-2)  # so that the number of threads changes
    for count in counts:
        set_workers(monkeypatch, count, chunk=40)
        runs = set()
        for _ in range(repeats):
            it = engine(params, init_velocity(params), x, y, cfg)
            runs.add(repr(bits(it.run(order) + it.run(order), it)))
        assert len(runs) == 1, f"{len(runs)} results with {count} workers"
    print(f"{repeats} of {repeats} runs with {len(counts)} numbers of workers")
