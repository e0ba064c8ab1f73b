"""Laws of `momentum_step`."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from purenet.testing import error_bounds, oracles
from purenet.testing.laws import Implementation, assert_pure, assert_within, law
from purenet.testing.strategies import layer_sizes, networks

Params = dict[str, Any]


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


@law(steps)
def step_is_within_rounding(under_test: Implementation, step: Step) -> None:
    """v ← β v + (1 - β) g, then p ← p - η v, as near as rounding errors let it be."""
    bounds = error_bounds.step_bound(*step[:3], **step.rates)
    exact = oracles.momentum_step(*step[:3], **step.rates)
    got = under_test.momentum_step(*step[:3], **step.rates)
    for of_what in zip(got, exact, bounds, strict=True):
        for name in step.params:
            right, bound = (one[name] for one in of_what[1:])
            assert_within(of_what[0][name], right, bound, name)


@law(steps)
def step_without_momentum_is_plain_descent(under_test: Implementation, step: Step) -> None:
    """With β = 0 the velocity is the gradient, in every bit that is not subnormal."""
    rates = step.rates | {"momentum": 0.0}
    _, velocity = under_test.momentum_step(*step[:3], **rates)
    for name, g in step.grads.items():
        flushed = np.abs(g) < np.finfo(g.dtype).smallest_normal
        assert_within(velocity[name], g, np.where(flushed, np.abs(g), 0), f"velocity of {name}")


@law(steps)
def step_from_rest_moves_by_one_minus_momentum(under_test: Implementation, step: Step) -> None:
    """The first step on a gradient g moves by η (1 - β) g: no correction, no special case."""
    rest = {name: np.zeros_like(p) for name, p in step.params.items()}
    origin = {name: np.zeros_like(p) for name, p in step.params.items()}
    moved, _ = under_test.momentum_step(origin, rest, step.grads, **step.rates)
    bounds, _ = error_bounds.step_bound(origin, rest, step.grads, **step.rates)
    factor = -step.rates["learning_rate"] * (1 - step.rates["momentum"])
    for name, g in step.grads.items():
        # the product here is rounded, too: as often as the step's own
        assert_within(moved[name], factor * np.asarray(g, np.float64), 2 * bounds[name], name)


@st.composite
def pairs_of_steps(draw: st.DrawFn, *, dtypes: Any = (np.float64, np.float32)) -> Any:
    """Draw the arguments of two steps of one form, with the rates of the first."""
    sizes, dtype = draw(layer_sizes(max_units=2, max_layers=1)), draw(st.sampled_from(dtypes))
    one, two = ([draw(networks(sizes, dtypes=[dtype])) for _ in range(3)] for _ in range(2))
    return one, two, draw(steps(dtypes=[dtype])).rates


@law(pairs_of_steps)
def step_is_linear(under_test: Implementation, pair: Any) -> None:
    """The step of a sum is the sum of the steps, in parameters, velocity and gradient at once."""
    one, two, rates = pair
    total = [{k: a[k] + b[k] for k in a} for a, b in zip(one, two, strict=True)]
    arguments: Any = one, two, total
    results = [under_test.momentum_step(*three, **rates) for three in arguments]
    bounds = [error_bounds.step_bound(*three, **rates) for three in arguments]
    for i in (0, 1):
        for name, p in one[0].items():
            first, second, both = (np.float64(result[i][name]) for result in results)
            # the sums of arguments are rounded, too, and may be flushed; no rate is above 2
            sizes = sum(np.abs(np.float64(three[j][name])) for three in arguments for j in range(3))
            info = np.finfo(p.dtype)
            tolerance = sum(bound[i][name] for bound in bounds)
            tolerance = tolerance + 8 * info.eps * sizes + 8 * info.smallest_normal
            assert_within(both, first + second, tolerance, name)


@law(steps)
def step_is_pure_and_keeps_the_form(under_test: Implementation, step: Step) -> None:
    """Arguments are not written nor shared, and results have their keys, shapes and dtypes."""
    rates = {name: np.float64(rate) for name, rate in step.rates.items()}

    def call() -> list[Any]:
        results = under_test.momentum_step(*step[:3], **rates)
        for result in results:
            assert list(result) == list(step.params), f"keys {list(result)}"
        return [array for result in results for array in result.values()]

    assert_pure(call, [array for one in step[:3] for array in one.values()])
    for array, p in zip(call(), [*step.params.values()] * 2, strict=True):
        assert (array.shape, array.dtype) == (p.shape, p.dtype), f"{array.dtype} {array.shape}"


@law(steps)
def step_goes_by_names(under_test: Implementation, step: Step) -> None:
    """Velocity and gradient in another order change nothing; with other keys they are refused."""
    params, velocity, grads, rates = step
    turned = [dict(reversed(one.items())) for one in (velocity, grads)]
    expected = under_test.momentum_step(params, velocity, grads, **rates)
    got = under_test.momentum_step(params, *turned, **rates)
    for ours, theirs in zip(expected, got, strict=True):
        for name in params:
            assert ours[name].tobytes() == theirs[name].tobytes(), f"{name} depends on the order"
    less = {name: g for name, g in grads.items() if name != "b1"}
    for bad, bad_rates in ((grads, rates | {"momentum": 1.0}), (less, rates)):
        try:
            under_test.momentum_step(params, velocity, bad, **bad_rates)
        except ValueError:
            continue
        raise AssertionError(f"not refused: gradients of {list(bad)} with {bad_rates}")
