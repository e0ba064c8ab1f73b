"""Laws of `momentum_step`."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from purenet.params import Params
from purenet.testing import error_bounds, oracles
from purenet.testing.laws import (
    ERRORS,
    FORM,
    MATHEMATICS,
    PURITY,
    Implementation,
    assert_pure,
    assert_within,
    law,
)
from purenet.testing.strategies import layer_sizes, networks

DTYPES = (np.float64, np.float32)


class Rates(TypedDict):
    """Hold η and β."""

    learning_rate: float
    momentum: float


class StepArguments(NamedTuple):
    """Hold the arguments of a step: three dictionaries of one form, and the rates."""

    params: Params
    velocity: Params
    grads: Params
    rates: Rates


@st.composite
def step_arguments(draw: st.DrawFn, *, dtypes: Sequence[DTypeLike] = DTYPES) -> StepArguments:
    """Draw the arguments of a step."""
    sizes, dtype = draw(layer_sizes(max_units=3, max_layers=2)), draw(st.sampled_from(dtypes))
    params, velocity, grads = (draw(networks(sizes, dtypes=[dtype])) for _ in range(3))
    learning_rate = draw(st.sampled_from([0.5, 0.0, 1.0]) | st.floats(0, 2))
    momentum = draw(st.sampled_from([0.5, 0.0, 0.9]) | st.floats(0, 0.999))
    rates = Rates(learning_rate=learning_rate, momentum=momentum)
    return StepArguments(params, velocity, grads, rates)


@law(MATHEMATICS, "momentum_step", step_arguments)
def step_is_within_rounding(under_test: Implementation, step: StepArguments) -> None:
    """The step is v ← β v + (1 - β) g, then p ← p - η v, within rounding."""
    bounds = error_bounds.step_bound(*step[:3], **step.rates)
    exact = oracles.momentum_step(*step[:3], **step.rates)
    got = under_test.momentum_step(*step[:3], **step.rates)
    for numbers, right, bound in zip(got, exact, bounds, strict=True):
        for name in step.params:
            assert_within(numbers[name], right[name], bound[name], name)


@law(MATHEMATICS, "momentum_step", step_arguments)
def step_without_momentum_is_plain_descent(under_test: Implementation, step: StepArguments) -> None:
    """With β = 0 the velocity is the gradient in every bit, unless it is subnormal."""
    rates = step.rates | {"momentum": 0.0}
    _, velocity = under_test.momentum_step(*step[:3], **rates)
    for name, g in step.grads.items():
        flushed = np.abs(g) < np.finfo(g.dtype).smallest_normal
        assert_within(velocity[name], g, np.where(flushed, np.abs(g), 0), f"velocity of {name}")


@law(MATHEMATICS, "momentum_step", step_arguments)
def step_from_rest_moves_by_one_minus_momentum(
    under_test: Implementation, step: StepArguments
) -> None:
    """The first step on a gradient g moves by η (1 - β) g: there is no correction for it."""
    rest = {name: np.zeros_like(p) for name, p in step.params.items()}
    origin = {name: np.zeros_like(p) for name, p in step.params.items()}
    moved, _ = under_test.momentum_step(origin, rest, step.grads, **step.rates)
    bounds, _ = error_bounds.step_bound(origin, rest, step.grads, **step.rates)
    factor = -step.rates["learning_rate"] * (1 - step.rates["momentum"])
    for name, g in step.grads.items():
        # The product below is rounded as often as the step itself.
        assert_within(moved[name], factor * np.asarray(g, np.float64), 2 * bounds[name], name)


@st.composite
def pairs_of_steps(
    draw: st.DrawFn, *, dtypes: Sequence[DTypeLike] = DTYPES
) -> tuple[StepArguments, StepArguments]:
    """Draw the arguments of two steps of one form and with the same rates."""
    sizes, dtype = draw(layer_sizes(max_units=2, max_layers=1)), draw(st.sampled_from(dtypes))
    p, v, g, p_2, v_2, g_2 = (draw(networks(sizes, dtypes=[dtype])) for _ in range(6))
    rates = draw(step_arguments(dtypes=[dtype])).rates
    return StepArguments(p, v, g, rates), StepArguments(p_2, v_2, g_2, rates)


@law(MATHEMATICS, "momentum_step", pairs_of_steps)
def step_is_linear(under_test: Implementation, pair: tuple[StepArguments, StepArguments]) -> None:
    """The step of a sum is the sum of the steps, in parameters, velocity and gradient at once."""
    one, two = (step[:3] for step in pair)
    rates = pair[0].rates
    total = [{name: a[name] + b[name] for name in a} for a, b in zip(one, two, strict=True)]
    arguments = one, two, total
    results = [under_test.momentum_step(*three, **rates) for three in arguments]
    bounds = [error_bounds.step_bound(*three, **rates) for three in arguments]
    for i in (0, 1):
        for name, p in one[0].items():
            first, second, both = (np.float64(result[i][name]) for result in results)
            # The sums of the arguments are rounded and may be flushed to zero. No rate is above 2.
            sizes = sum(abs(array[name].astype(float)) for three in arguments for array in three)
            info = np.finfo(p.dtype)
            tolerance = sum(bound[i][name] for bound in bounds)
            tolerance = tolerance + 8 * info.eps * sizes + 8 * info.smallest_normal
            assert_within(both, first + second, tolerance, name)


@law(PURITY, "momentum_step", step_arguments)
def step_is_pure(under_test: Implementation, step: StepArguments) -> None:
    """Arguments are neither written nor shared, and equal calls give equal bits."""

    def call() -> list[NDArray[Any]]:
        results = under_test.momentum_step(*step[:3], **step.rates)
        return [array for result in results for array in result.values()]

    assert_pure(call, [array for one in step[:3] for array in one.values()])


@law(FORM, "momentum_step", step_arguments)
def step_keeps_the_form(under_test: Implementation, step: StepArguments) -> None:
    """Results have the keys, order, shapes and dtypes of the parameters, for rates of any type."""
    eta, beta = step.rates["learning_rate"], step.rates["momentum"]
    rates = {"learning_rate": np.float64(eta), "momentum": np.float64(beta)}
    for result in under_test.momentum_step(*step[:3], **rates):
        assert list(result) == list(step.params), f"keys {list(result)}"
        for array, p in zip(result.values(), step.params.values(), strict=True):
            assert (array.shape, array.dtype) == (p.shape, p.dtype), f"{array.dtype} {array.shape}"


@law(FORM, "momentum_step", step_arguments)
def step_goes_by_names(under_test: Implementation, step: StepArguments) -> None:
    """The order of velocity and gradients changes no bit."""
    params, velocity, grads, rates = step
    turned = [dict(reversed(one.items())) for one in (velocity, grads)]
    expected = under_test.momentum_step(params, velocity, grads, **rates)
    got = under_test.momentum_step(params, *turned, **rates)
    for ours, theirs in zip(expected, got, strict=True):
        for name in params:
            assert ours[name].tobytes() == theirs[name].tobytes(), f"{name} depends on the order"


@law(ERRORS, "momentum_step", step_arguments)
def bad_step_is_refused(under_test: Implementation, step: StepArguments) -> None:
    """Gradients with other keys than the parameters are ValueErrors, and so is β = 1."""
    params, velocity, grads, rates = step
    less = {name: g for name, g in grads.items() if name != "b1"}
    for bad, bad_rates in ((grads, rates | {"momentum": 1.0}), (less, rates)):
        try:
            under_test.momentum_step(params, velocity, bad, **bad_rates)
        except ValueError:
            continue
        raise AssertionError("bad input was not refused with a ValueError")
