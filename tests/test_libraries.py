"""The law of array libraries: arrays of any library give the numbers of NumPy."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import purenet
from purenet.testing.error_bounds import backward_bound, forward_bound, step_bound
from purenet.testing.strategies import Problem, problems
from tests.support.libraries import LIBRARIES, to_numpy

OTHERS = [name for name in LIBRARIES if name != "numpy"]
# JAX compiles each operation anew for each shape, so it gets one network and few examples.
FEWER = settings(max_examples=settings().max_examples // 4)
JAX_SIZES = st.just([2, 3, 3, 2])
SIZES = st.sampled_from([[1, 1], [2, 3, 3, 2]])


def converted(library: str, problem: Problem) -> tuple[dict[str, Any], Any, Any]:
    """Return the arrays of a problem as C-ordered arrays of a library."""

    def convert(array: Any) -> Any:
        return LIBRARIES[library](np.array(array, order="C"))

    return {name: convert(p) for name, p in problem.params.items()}, *map(convert, problem[1:3])


def assert_alike(got: Any, expected: Any, bound: Any) -> None:
    """Refuse numbers that differ by more than twice the error bound of one evaluation."""
    assert np.all(np.abs(to_numpy(got).astype(np.float64) - expected) <= 2 * bound)


@pytest.mark.parametrize("library", OTHERS)
@FEWER
@given(data=st.data())
def test_functions_agree_within_rounding(library: str, data: st.DataObject) -> None:
    """Logits, loss, gradient and step are those of NumPy up to rounding, in the same dtype."""
    units = JAX_SIZES if library == "jax" else SIZES
    problem = data.draw(problems(units, max_examples=2))
    params, x, y, l2 = problem
    theirs, x_theirs, y_theirs = converted(library, problem)

    logits = purenet.forward(theirs, x_theirs)
    assert type(logits) is type(x_theirs)
    assert_alike(logits, purenet.forward(params, x), forward_bound(params, x))

    value, grads = purenet.backward(theirs, x_theirs, y_theirs, l2=l2)
    expected_value, expected = purenet.backward(params, x, y, l2=l2)
    value_bound, bounds = backward_bound(params, x, y, l2=l2)
    assert_alike(value, expected_value, value_bound)
    assert float(value) == float(purenet.loss(theirs, x_theirs, y_theirs, l2=l2))
    for name, g in grads.items():
        assert g.dtype == theirs[name].dtype
        assert_alike(g, expected[name], bounds[name])

    rates = {"learning_rate": 0.3, "momentum": 0.9}
    stepped = purenet.momentum_step(theirs, theirs, theirs, **rates)
    expected_step = purenet.momentum_step(params, params, params, **rates)
    step_bounds = step_bound(params, params, params, **rates)
    for got, right, bound in zip(stepped, expected_step, step_bounds, strict=True):
        for name, p in got.items():
            assert_alike(p, right[name], bound[name])


L2 = 0.25
jitted = jax.jit(partial(purenet.backward, l2=L2))
derived = jax.jit(jax.grad(partial(purenet.loss, l2=L2)))


@FEWER
@given(problem=problems(JAX_SIZES, max_examples=2))
def test_jit_and_grad_agree_within_rounding(problem: Problem) -> None:
    """`backward` inside jit, and JAX's gradient of `loss`, are NumPy's `backward`, at kinks too."""
    params, x, y, _ = problem
    theirs = converted("jax", problem)
    value, grads = jitted(*theirs)
    expected_value, expected = purenet.backward(params, x, y, l2=L2)
    value_bound, bounds = backward_bound(params, x, y, l2=L2)
    assert_alike(value, expected_value, value_bound)
    for one in (grads, derived(*theirs)):
        for name, g in one.items():
            assert_alike(g, expected[name], bounds[name])
