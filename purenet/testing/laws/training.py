"""Laws of `train`."""

from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from purenet import Config, init
from purenet.testing import oracles
from purenet.testing.laws import Implementation, law
from purenet.testing.laws.network import assert_within


class Run(NamedTuple):
    """The arguments of a training run."""

    params: dict[str, Any]
    data: tuple[Any, Any]
    cfg: Config


@st.composite
def runs(draw: st.DrawFn, *, dtypes: Any = (np.float64,), least_epochs: int = 1) -> Run:
    """Draw a run of few updates on numbers without zeros, whose kinks no rounding reaches."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=3))
    n = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(dtypes))
    params = init(sizes, seed=int(rng.integers(2**32)), dtype=dtype)
    params = {name: p + rng.normal(size=p.shape).astype(dtype) for name, p in params.items()}
    x: Any = rng.normal(size=(n, sizes[0])).astype(dtype)
    if draw(st.booleans()):
        x = rng.integers(0, 256, (n, sizes[0]), dtype=np.uint8)
    cfg = Config(
        learning_rate=draw(st.sampled_from([0.1, 0.3])),
        momentum=draw(st.sampled_from([0.0, 0.5, 0.9])),
        l2=draw(st.sampled_from([0.0, 0.1])),
        batch_size=draw(st.none() | st.integers(1, 6)),
        epochs=draw(st.integers(least_epochs, 3)),
        shuffle=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
        input_scale=draw(st.sampled_from([1 / 255, 0.01])),
    )
    return Run(params, (x, rng.integers(0, sizes[-1], n)), cfg)


@law(runs())
def train_is_the_fold_of_its_definition(under_test: Implementation, run: Run) -> None:
    """Parameters, velocity and losses are those of the exact fold, batch by batch."""
    params, velocity, losses = oracles.train(run.params, run.data, **asdict(run.cfg))
    result = under_test.train(run.params, run.data, run.cfg)
    # at most 15 updates of numbers of order 1 to 10, each a sum of at most 5 terms, through 2
    # layers; an update of rate 0.3 magnifies earlier errors by less than 4 where the loss curves
    tolerance = 1e5 * np.finfo(np.float64).eps
    assert [row["epoch"] for row in result.history] == list(range(1, run.cfg.epochs + 1))
    assert_within([row["loss"] for row in result.history], losses, tolerance)
    for name in run.params:
        assert_within(result.params[name], params[name], tolerance)
        assert_within(result.state.velocity[name], velocity[name], tolerance)


@law(runs(dtypes=[np.float64, np.float32], least_epochs=2), st.integers(0, 3))
def resumed_run_is_the_uninterrupted_run(under_test: Implementation, run: Run, stop: int) -> None:
    """Some epochs and the rest are all epochs, in every bit of parameters, velocity and history."""
    stop = min(stop, run.cfg.epochs)
    whole = under_test.train(run.params, run.data, run.cfg)
    first = under_test.train(run.params, run.data, replace(run.cfg, epochs=stop))
    rest = under_test.train(first.params, run.data, run.cfg, state=first.state)
    assert whole.history == [*first.history, *rest.history]
    for name, p in whole.params.items():
        assert p.tobytes() == rest.params[name].tobytes()
        assert whole.state.velocity[name].tobytes() == rest.state.velocity[name].tobytes()


@law(runs(dtypes=[np.float64, np.float32]))
def train_is_pure_and_keeps_the_form(under_test: Implementation, run: Run) -> None:
    """Arguments are not written nor shared; results have the parameters' keys and dtype."""
    given = [*run.params.values(), *run.data]
    before = [array.copy() for array in given]
    results = [under_test.train(run.params, run.data, run.cfg) for _ in range(2)]
    for array, copy in zip(given, before, strict=True):
        assert array.tobytes() == copy.tobytes(), "an argument was written"
    assert results[0].history == results[1].history
    for ours in ("params", "velocity"):
        first, second = (
            result.params if ours == "params" else result.state.velocity for result in results
        )
        assert list(first) == list(run.params)
        for name, p in run.params.items():
            assert (first[name].shape, first[name].dtype) == (p.shape, p.dtype)
            assert first[name].tobytes() == second[name].tobytes()
            assert not any(np.shares_memory(first[name], array) for array in given)
