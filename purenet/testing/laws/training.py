"""Laws of `train`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from purenet import Config, State, init
from purenet.params import Params
from purenet.testing import oracles
from purenet.testing.laws import (
    FORM,
    MATHEMATICS,
    PURITY,
    Implementation,
    assert_pure,
    assert_within,
    law,
)


class TrainingRun(NamedTuple):
    """Hold the arguments of a training run."""

    params: Params
    data: tuple[NDArray[Any], NDArray[Any]]
    cfg: Config


@st.composite
def training_runs(
    draw: st.DrawFn, *, dtypes: Sequence[DTypeLike] = (np.float64, np.float32)
) -> TrainingRun:
    """Draw a run of few updates on normal numbers, which rounding does not move across kinks."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    n = draw(st.sampled_from([5, 3, 1, 2, 4]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(dtypes))
    params = init(sizes, seed=int(rng.integers(2**32)), dtype=dtype)
    params = {name: p + rng.normal(size=p.shape).astype(dtype) for name, p in params.items()}
    x: NDArray[Any] = rng.normal(size=(n, sizes[0])).astype(dtype)
    if draw(st.booleans()):
        pixels = draw(st.sampled_from([np.uint8, np.int16, np.int64]))
        x = rng.integers(0, 256, (n, sizes[0])).astype(pixels)
    x = np.array(x, order=draw(st.sampled_from(["C", "F"])))
    y = rng.integers(0, sizes[-1], n).astype(draw(st.sampled_from([np.int64, np.uint8])))
    cfg = Config(
        learning_rate=draw(st.sampled_from([0.1, 0.3])),
        momentum=draw(st.sampled_from([0.0, 0.5, 0.9])),
        l2=draw(st.sampled_from([0.0, 0.1])),
        batch_size=draw(st.sampled_from([2, 3, None, 1, 4, 6])),
        epochs=draw(st.sampled_from([3, 2, 1])),
        shuffle=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
        input_scale=draw(st.sampled_from([1 / 255, 0.01])),
    )
    return TrainingRun(params, (x, y), cfg)


@st.composite
def sharded_runs(
    draw: st.DrawFn, *, dtypes: Sequence[DTypeLike] = (np.float64, np.float32)
) -> TrainingRun:
    """Draw a step from zero whose gradients are powers of two: only their sum is rounded."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shards = draw(st.sampled_from([4, 8, 2]))
    eps = float(np.finfo(dtype).eps)
    x = draw(st.lists(st.sampled_from([eps / 2, 1, eps]), min_size=shards, max_size=shards))
    params = {"W1": np.zeros((1, 2), dtype), "b1": np.zeros(2, dtype)}
    cfg = Config(
        learning_rate=0.5, momentum=0, l2=0, batch_size=None, epochs=1, shards=shards, shuffle=False
    )
    return TrainingRun(params, (np.array(x, dtype)[:, None], np.zeros(shards, np.int64)), cfg)


@law(MATHEMATICS, "train", sharded_runs)
def shards_are_added_in_a_binary_tree(under_test: Implementation, run: TrainingRun) -> None:
    """The gradients of `cfg.shards` parts of a batch are added by pairs, then these sums by pairs.

    With p = 1/2 and one example for each shard, the gradient of shard i is ∓x_i / 2S.
    """
    sums = run.data[0] / run.params["W1"].dtype.type(2 * len(run.data[0]))
    while len(sums) > 1:
        sums = sums[::2] + sums[1::2]
    expected = run.cfg.learning_rate * sums * np.array([1, -1], sums.dtype)
    result = under_test.train(run.params, run.data, run.cfg)
    W1 = result.params["W1"]
    assert W1.tobytes() == expected.tobytes(), (
        f"W1 is {W1.tolist()} where the sum by pairs gives {expected.tolist()}"
    )


@law(MATHEMATICS, "train", training_runs)
def train_is_the_fold_of_its_definition(under_test: Implementation, run: TrainingRun) -> None:
    """Parameters, velocity and losses are those of the exact fold over the batches."""
    params, velocity, losses = oracles.train(run.params, run.data, **asdict(run.cfg))
    result = under_test.train(run.params, run.data, run.cfg)
    # There are at most 15 updates of numbers of order 1 to 10, each a sum of at most 5 terms,
    # through 2 layers. Where the loss curves, an update of rate 0.3 magnifies earlier errors by
    # less than 4.
    tolerance = 1e5 * np.finfo(run.params["W1"].dtype).eps
    numbers = [row["epoch"] for row in result.history]
    assert numbers == list(range(1, run.cfg.epochs + 1)), f"epochs {numbers}"
    assert result.state.epochs == run.cfg.epochs, f"{result.state.epochs} epochs done"
    assert_within([row["loss"] for row in result.history], losses, tolerance, "losses")
    for name in run.params:
        assert_within(result.params[name], params[name], tolerance, name)
        what = f"velocity of {name}"
        assert_within(result.state.velocity[name], velocity[name], tolerance, what)


@law(MATHEMATICS, "train", training_runs, st.integers(0, 3))
def resumed_run_is_the_uninterrupted_run(
    under_test: Implementation, run: TrainingRun, stop: int
) -> None:
    """A run that is stopped and resumed gives every bit of parameters, velocity and history."""
    stop = min(stop, run.cfg.epochs)
    whole = under_test.train(run.params, run.data, run.cfg)
    first = under_test.train(run.params, run.data, replace(run.cfg, epochs=stop))
    rest = under_test.train(first.params, run.data, run.cfg, state=first.state)
    assert whole.history == [*first.history, *rest.history], "histories differ"
    assert rest.state.epochs == run.cfg.epochs, f"{rest.state.epochs} epochs done"
    for name, p in whole.params.items():
        assert p.tobytes() == rest.params[name].tobytes(), f"{name} differs"
        v, resumed = whole.state.velocity[name], rest.state.velocity[name]
        assert v.tobytes() == resumed.tobytes(), f"velocity of {name} differs"


def starts_of(under_test: Implementation, run: TrainingRun) -> list[tuple[Params, State | None]]:
    """Return the parameters and the state of a new run, and of one that goes on."""
    first = under_test.train(run.params, run.data, run.cfg)
    return [(run.params, None), (first.params, first.state)]


@law(PURITY, "train", training_runs, st.integers(0, 1))
def train_is_pure(under_test: Implementation, run: TrainingRun, more: int) -> None:
    """Arguments and a state are neither written nor shared, and equal calls give equal bits."""
    cfg = replace(run.cfg, epochs=run.cfg.epochs + more)
    for params, state in starts_of(under_test, run):
        given = [*params.values(), *run.data, *(state.velocity.values() if state else ())]

        def call(params: Params = params, state: State | None = state) -> list[NDArray[Any]]:
            result = under_test.train(params, run.data, cfg, state=state)
            losses = np.array([row["loss"] for row in result.history])
            return [losses, *result.params.values(), *result.state.velocity.values()]

        assert_pure(call, given)


@law(FORM, "train", training_runs)
def train_keeps_the_form(under_test: Implementation, run: TrainingRun) -> None:
    """Parameters and velocity keep the keys, order, shapes and dtype of the parameters."""
    for params, state in starts_of(under_test, run):
        result = under_test.train(params, run.data, run.cfg, state=state)
        for one in (result.params, result.state.velocity):
            assert list(one) == list(run.params), f"keys {list(one)}"
            for array, p in zip(one.values(), run.params.values(), strict=True):
                assert array.shape == p.shape, f"shape {array.shape}"
                assert array.dtype == p.dtype, f"dtype {array.dtype}"
