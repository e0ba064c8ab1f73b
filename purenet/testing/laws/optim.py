"""Laws of `momentum_step`."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from purenet.testing import error_bounds, oracles
from purenet.testing.laws import Implementation, law
from purenet.testing.laws.network import assert_within
from purenet.testing.strategies import layer_sizes, networks

Params = dict[str, Any]
EPS = np.finfo(np.float64).eps


class Step(NamedTuple):
    """The arguments of a step: three dictionaries of one form, and the rates."""

    params: Params
    velocity: Params
    grads: Params
    rates: dict[str, Any]


@st.composite
def steps(draw: st.DrawFn, *, dtypes: Any = (np.float64, np.float32)) -> Step:
    """Draw the arguments of a step."""
    sizes, dtype = draw(layer_sizes(max_units=3, max_layers=2)), draw(st.sampled_from(dtypes))
    params, velocity, grads = (draw(networks(sizes, dtypes=[dtype])) for _ in range(3))
    learning_rate = draw(st.sampled_from([0.5, 0.0, 1.0]) | st.floats(0, 2))
    momentum = draw(st.sampled_from([0.5, 0.0, 0.9]) | st.floats(0, 0.999))
    return Step(params, velocity, grads, {"learning_rate": learning_rate, "momentum": momentum})


@law(steps())
def step_is_within_rounding(under_test: Implementation, step: Step) -> None:
    """v ← β v + (1 - β) g, then p ← p - η v, as near as rounding errors let it be."""
    bounds = error_bounds.step_bound(*step[:3], **step.rates)
    exact = oracles.momentum_step(*step[:3], **step.rates)
    got = under_test.momentum_step(*step[:3], **step.rates)
    for of_what in zip(got, exact, bounds, strict=True):
        for name in step.params:
            assert_within(*(one[name] for one in of_what))


@law(steps())
def step_without_momentum_is_plain_descent(under_test: Implementation, step: Step) -> None:
    """With β = 0 the velocity is the gradient, in every bit."""
    rates = step.rates | {"momentum": 0.0}
    _, velocity = under_test.momentum_step(*step[:3], **rates)
    for name, g in step.grads.items():
        assert np.array_equal(velocity[name], g)


@law(steps(dtypes=[np.float64]))
def step_from_rest_moves_by_one_minus_momentum(under_test: Implementation, step: Step) -> None:
    """The first step on a gradient g moves by η (1 - β) g: no correction, no special case."""
    rest = {name: np.zeros_like(p) for name, p in step.params.items()}
    origin = {name: np.zeros_like(p) for name, p in step.params.items()}
    moved, _ = under_test.momentum_step(origin, rest, step.grads, **step.rates)
    bounds, _ = error_bounds.step_bound(origin, rest, step.grads, **step.rates)
    factor = -step.rates["learning_rate"] * (1 - step.rates["momentum"])
    for name, g in step.grads.items():
        # the product here is rounded, too: as often as the step's own
        assert_within(moved[name], factor * np.asarray(g, np.float64), 2 * bounds[name])


@law(steps(dtypes=[np.float64]), steps(dtypes=[np.float64]))
def step_is_linear(under_test: Implementation, step: Step, other: Step) -> None:
    """The step of a sum is the sum of the steps, in parameters, velocity and gradient at once."""
    one = step[:3]
    two = [{k: np.resize(b["W1"], a[k].shape) for k in a} for a, b in zip(one, other, strict=False)]
    total = [{k: a[k] + b[k] for k in a} for a, b in zip(one, two, strict=True)]
    arguments: tuple[Any, ...] = one, two, total
    results = [under_test.momentum_step(*three, **step.rates) for three in arguments]
    bounds = [error_bounds.step_bound(*three, **step.rates) for three in arguments]
    for i in (0, 1):
        for name in step.params:
            first, second, both = (result[i][name] for result in results)
            # the sums of arguments and of results are rounded, too; no rate is above 2
            sizes = sum(np.abs(three[j][name]) for three in arguments for j in range(3))
            tolerance = sum(bound[i][name] for bound in bounds) + 8 * EPS * sizes
            assert_within(both, first + second, tolerance)


@law(steps())
def step_is_pure_and_keeps_the_form(under_test: Implementation, step: Step) -> None:
    """Arguments are not written nor shared, and results have their keys, shapes and dtypes."""
    given = [array for one in step[:3] for array in one.values()]
    before = [array.copy() for array in given]
    rates = {name: np.float64(rate) for name, rate in step.rates.items()}
    first, second = (under_test.momentum_step(*step[:3], **rates) for _ in range(2))
    for array, copy in zip(given, before, strict=True):
        assert array.tobytes() == copy.tobytes(), "an argument was written"
    for one, again in zip(first, second, strict=True):
        assert list(one) == list(step.params)
        for name, p in step.params.items():
            assert (one[name].shape, one[name].dtype) == (p.shape, p.dtype)
            assert one[name].tobytes() == again[name].tobytes()
            assert not any(np.shares_memory(one[name], array) for array in given)
