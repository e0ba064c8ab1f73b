"""Laws of `init`, `forward`, `loss` and `backward`."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from purenet.params import Params, from_layers, layers, names, sizes
from purenet.testing import error_bounds, oracles
from purenet.testing.gradients import check_gradients
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
from purenet.testing.strategies import Problem, layer_sizes, problems


def of_dtypes(*, dtypes: Sequence[DTypeLike]) -> st.SearchStrategy[DTypeLike]:
    """Draw a dtype."""
    return st.sampled_from(dtypes)


@law(MATHEMATICS, "forward", problems)
def logits_are_within_rounding(under_test: Implementation, problem: Problem) -> None:
    """Each logit is within its rounding error bound of the exact one."""
    params, x, _, _ = problem
    exact, bound = oracles.forward(params, x), error_bounds.forward_bound(params, x)
    assert_within(under_test.forward(params, x), exact, bound, "logits")


@law(MATHEMATICS, "loss", problems)
def loss_is_within_rounding(under_test: Implementation, problem: Problem) -> None:
    """The loss is the mean cross-entropy in nats plus the penalty, within rounding."""
    params, x, y, l2 = problem
    bound, _ = error_bounds.backward_bound(params, x, y, l2=l2)
    exact = oracles.loss(params, x, y, l2=l2)
    assert_within(under_test.loss(params, x, y, l2=l2), exact, bound, "loss")


@law(MATHEMATICS, "backward", problems)
def gradient_is_within_rounding(under_test: Implementation, problem: Problem) -> None:
    """Each coordinate of the gradient is within its rounding error bound of the exact one."""
    params, x, y, l2 = problem
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    _, exact = oracles.backward(params, x, y, l2=l2)
    _, grads = under_test.backward(params, x, y, l2=l2)
    for name in params:
        assert_within(grads[name], exact[name], bounds[name], f"gradient of {name}")


@law(MATHEMATICS, "loss backward", problems)
def backward_returns_the_loss(under_test: Implementation, problem: Problem) -> None:
    """The value that `backward` returns with the gradient is the loss."""
    params, x, y, l2 = problem
    bound, _ = error_bounds.backward_bound(params, x, y, l2=l2)
    value, _ = under_test.backward(params, x, y, l2=l2)
    # A compiler may round the two differently.
    assert_within(value, under_test.loss(params, x, y, l2=l2), 2 * bound, "value of backward")


@law(MATHEMATICS, "loss backward", problems)
def gradient_is_that_of_the_loss(under_test: Implementation, problem: Problem) -> None:
    """The gradient nowhere disagrees with finite differences of the loss."""
    params, x, y, l2 = problem
    params = dict(params)
    for k, (_, b) in enumerate(layers(params)[:-1], start=1):
        # Biases are moved away from 0, because kinks at z = 0 may cancel. Then the loss has a
        # derivative which differs from the one that ReLU'(0) = 0 gives.
        params[f"b{k}"] = b + (np.sqrt(2) / 8 * (1 + np.arange(b.size) / 7)).astype(b.dtype)
    _, grads = under_test.backward(params, x, y, l2=l2)
    report = check_gradients(lambda p: under_test.loss(p, x, y, l2=l2), grads, params)
    assert not report.count("disagrees"), str(report)


@law(MATHEMATICS, "backward", problems)
def relu_derivative_at_zero_is_zero(under_test: Implementation, problem: Problem) -> None:
    """No gradient passes a hidden unit whose input is exactly 0 for every example."""
    params, x, y, l2 = problem
    hidden = names(len(layers(params)) - 1)
    zeros = {name: np.zeros_like(params[name]) for name in hidden}
    _, grads = under_test.backward(params | zeros, x, y, l2=l2)
    for name in hidden:
        assert not grads[name].any(), f"the gradient of {name} is not 0"


@law(FORM, "forward loss backward", problems)
def results_have_the_form_of_the_parameters(under_test: Implementation, problem: Problem) -> None:
    """Gradients have the keys, order and shapes of the parameters; every result has their dtype."""
    params, x, y, _ = problem
    dtype = params["W1"].dtype
    for given in (x, np.abs(x).astype(np.float64)):
        l2 = np.float64(0.5)
        value, grads = under_test.backward(params, given, y, l2=l2)
        assert list(grads) == list(params), f"keys {list(grads)} of the gradient"
        results = {
            "loss": under_test.loss(params, given, y, l2=l2),
            "value of backward": value,
            "logits": under_test.forward(params, given),
            **grads,
        }
        for name, result in results.items():
            found = np.asarray(result)
            assert found.dtype == dtype, f"{name} is {found.dtype} for x of {given.dtype}"
            assert name not in params or found.shape == params[name].shape, f"shape of {name}"


@law(PURITY, "forward loss backward", problems)
def functions_are_pure(under_test: Implementation, problem: Problem) -> None:
    """Arguments are not written, results share no memory, and equal calls give equal bits."""
    params, x, y, l2 = problem

    def call() -> list[NDArray[Any]]:
        value, grads = under_test.backward(params, x, y, l2=l2)
        loss = under_test.loss(params, x, y, l2=l2)
        return [value, loss, under_test.forward(params, x), *grads.values()]

    assert_pure(call, [*params.values(), x, y])


@law(FORM, "forward backward", problems)
def layers_go_by_number(under_test: Implementation, problem: Problem) -> None:
    """W10 comes after W9, whatever the order of the dictionary: JAX sorts keys as text."""
    params, x, y, _ = problem
    first, *others = layers(params)
    units, dtype = len(first[1]), params["W1"].dtype
    inserted = [
        ((np.eye(units, k=k % 2) + 0.5 * np.eye(units)).astype(dtype), np.full(units, k / 8, dtype))
        for k in range(2, 11)
    ]
    deep = from_layers([first, *inserted, *others])
    if not others:
        y = y % units
    by_name = dict(sorted(deep.items()))
    exact, bound = oracles.forward(deep, x), error_bounds.forward_bound(deep, x)
    assert_within(under_test.forward(by_name, x), exact, bound, "logits")
    _, grads = under_test.backward(by_name, x, y)
    _, bounds = error_bounds.backward_bound(deep, x, y)
    _, expected = oracles.backward(deep, x, y)
    for name, g in grads.items():
        assert_within(g, expected[name], bounds[name], f"gradient of {name}")


@law(MATHEMATICS, "backward", problems, st.integers(1, 7))
def gradient_is_additive(under_test: Implementation, problem: Problem, cut: int) -> None:
    """The gradient of a batch is the size-weighted mean of the gradients of its parts."""
    params, x, y, l2 = problem
    n = len(x)
    parts = [part for part in (slice(0, cut), slice(cut, None)) if len(x[part])]
    _, whole = under_test.backward(params, x, y, l2=l2)
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    for name, g in whole.items():
        mean, tolerance = np.zeros(params[name].shape), bounds[name]
        for part in parts:
            weight = len(x[part]) / n
            mean += weight * under_test.backward(params, x[part], y[part], l2=l2)[1][name]
            part_bound = error_bounds.backward_bound(params, x[part], y[part], l2=l2)[1][name]
            # The mean is taken in float64, which costs no more than the rounding of a part.
            tolerance = tolerance + 2 * weight * part_bound
        assert_within(g, mean, tolerance, f"gradient of {name}")


@law(MATHEMATICS, "forward backward", problems, st.integers(0, 99))
def order_of_examples_changes_nothing(
    under_test: Implementation, problem: Problem, seed: int
) -> None:
    """Permuting the batch permutes the logits and leaves the gradient as it is, within rounding."""
    params, x, y, l2 = problem
    order = Random(seed).sample(range(len(x)), len(x))
    assert_within(
        under_test.forward(params, x[order]),
        under_test.forward(params, x)[order],
        2 * error_bounds.forward_bound(params, x)[order],
    )
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    _, grads = under_test.backward(params, x, y, l2=l2)
    _, permuted = under_test.backward(params, x[order], y[order], l2=l2)
    for name, g in grads.items():
        assert_within(permuted[name], g, 2 * bounds[name], f"gradient of {name}")


@law(MATHEMATICS, "backward", problems, st.integers(0, 99))
def permuting_hidden_units_permutes_the_gradient(
    under_test: Implementation, problem: Problem, seed: int
) -> None:
    """Permuting the units of a hidden layer permutes the gradient in the same way."""
    params, x, y, l2 = problem
    random = Random(seed)
    orders = [random.sample(range(units), units) for units in sizes(params)[1:-1]]
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    _, grads = under_test.backward(params, x, y, l2=l2)
    _, permuted = under_test.backward(reordered(params, orders), x, y, l2=l2)
    expected, tolerances = reordered(grads, orders), reordered(bounds, orders)
    for name, g in permuted.items():
        assert_within(g, expected[name], 2 * tolerances[name], f"gradient of {name}")


@law(MATHEMATICS, "loss", problems, st.integers(-4, 4))
def shifting_all_logits_changes_no_loss(
    under_test: Implementation, problem: Problem, exponent: int
) -> None:
    """Adding one number to all of the last biases changes no loss: softmax takes differences."""
    params, x, y, l2 = problem
    last = f"b{len(layers(params))}"
    shifted = params | {last: params[last] + params[last].dtype.type(2.0**exponent)}
    added = np.asarray(shifted[last], np.float64) - np.asarray(params[last], np.float64)
    bounds = [error_bounds.backward_bound(p, x, y, l2=l2)[0] for p in (params, shifted)]
    # The sum b + c is rounded. A change of logits by d changes the loss by at most 2 d.
    rounded = 2 * np.abs(added - 2.0**exponent).max()
    got, expected = (under_test.loss(p, x, y, l2=l2) for p in (shifted, params))
    assert_within(got, expected, sum(bounds) + rounded)


@law(MATHEMATICS, "forward", problems, st.integers(-3, 3))
def rescaling_a_hidden_layer_changes_no_logit(
    under_test: Implementation, problem: Problem, exponent: int
) -> None:
    """Since ReLU(c z) = c ReLU(z) for c > 0, a factor c in one layer and 1/c in the next cancel."""
    params, x, _, _ = problem
    c, rescaled = 2.0**exponent, dict(params)
    for k in range(1, len(layers(params)), 2):
        rescaled[f"W{k}"] = params[f"W{k}"] * c
        rescaled[f"b{k}"] = params[f"b{k}"] * c
        rescaled[f"W{k + 1}"] = params[f"W{k + 1}"] / c
    bounds = [error_bounds.forward_bound(p, x) for p in (params, rescaled)]
    got, expected = (under_test.forward(p, x) for p in (rescaled, params))
    assert_within(got, expected, sum(bounds))


@law(ERRORS, "forward loss backward", problems)
def bad_input_is_refused(under_test: Implementation, problem: Problem) -> None:
    """Wrong labels and shapes, and x that is not finite or holds integers, are ValueErrors."""
    params, x, y, _ = problem
    classes = sizes(params)[-1]
    signed, first = y.astype(np.int64), np.arange(len(y)) == 0
    bad_x = [
        np.full_like(x, np.nan),
        np.full_like(x, np.inf),
        np.hstack([x, x]),
        x[0],
        x[:0],
        (x > 0).astype(np.uint8),
    ]
    bad_y = [
        np.where(first, -1, signed),
        np.where(first, classes, signed),
        y.astype(np.float64),
        y[:, None],
        np.concatenate([y, y]),
    ]
    calls: list[tuple[Any, ...]] = [(under_test.forward, params, one) for one in bad_x]
    for function in (under_test.loss, under_test.backward):
        calls += [(function, params, one, y[: len(one)]) for one in bad_x]
        calls += [(function, params, x, one) for one in bad_y]
    for function, *arguments in calls:
        try:
            function(*arguments)
        except ValueError:
            continue
        raise AssertionError("bad input was not refused with a ValueError")


@law(
    MATHEMATICS,
    "init",
    layer_sizes(),
    st.integers(0, 2**32),
    st.sampled_from(["he", 0.01]),
    of_dtypes,
)
def init_draws_what_it_is_asked_for(
    under_test: Implementation, narrow: list[int], seed: int, scale: str | float, dtype: DTypeLike
) -> None:
    """Weights are N(0, s²) from the seed alone, different seeds differ, and biases are 0."""
    wide = [25 * size for size in narrow]
    before = global_generator()
    params, again, other = (
        under_test.init(wide, seed=s, scale=scale, dtype=dtype) for s in (seed, seed, seed + 1)
    )
    assert before == global_generator(), "NumPy's global generator was used"
    assert list(params) == names(len(wide) - 1), f"keys {list(params)}"
    seen = set()
    for k, (fan_in, fan_out) in enumerate(pairwise(wide), start=1):
        w, b = params[f"W{k}"], params[f"b{k}"]
        assert (w.shape, b.shape) == ((fan_in, fan_out), (fan_out,)), f"shapes of layer {k}"
        assert {w.dtype, b.dtype} == {np.dtype(dtype)}, f"dtype of layer {k}"
        assert not b.any(), f"b{k} is not 0"
        assert w.tobytes() == again[f"W{k}"].tobytes(), "equal seeds gave different weights"
        assert w.tobytes() != other[f"W{k}"].tobytes(), "different seeds gave equal weights"
        # The deviation of m normal numbers has itself a standard deviation of s/√(2m). Six of
        # those are allowed, and six of the mean and of the share of numbers beyond s, 0.317.
        m, deviation = w.size, np.sqrt(2 / fan_in) if scale == "he" else float(scale)
        assert abs(w.std() / deviation - 1) < 6 / np.sqrt(2 * m), f"deviation {w.std()} of W{k}"
        assert abs(w.mean() / deviation) < 6 / np.sqrt(m), f"mean {w.mean()} of W{k}"
        beyond = (np.abs(w) > deviation).mean()
        assert abs(beyond - 0.317) < 6 * 0.466 / np.sqrt(m), f"W{k} is not normal"
        seen.add(w.ravel()[0].item() / deviation)
    assert len(seen) == len(wide) - 1, "layers repeat each other"


def global_generator() -> bytes:
    """Return the state of NumPy's global generator."""
    _, key, *_ = np.random.get_state(legacy=True)  # noqa: NPY002
    return np.asarray(key).tobytes()


def reordered(params: Params, orders: list[list[int]]) -> Params:
    """Permute the hidden units in parameters, gradients, or other dictionaries of that form."""
    result = dict(params)
    for k, order in enumerate(orders, start=1):
        result[f"W{k}"] = result[f"W{k}"][:, order]
        result[f"b{k}"] = result[f"b{k}"][order]
        result[f"W{k + 1}"] = result[f"W{k + 1}"][order]
    return result
