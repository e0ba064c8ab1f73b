"""Laws of `init`, `forward`, `loss` and `backward`."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from purenet.testing import error_bounds, oracles
from purenet.testing.gradients import check_gradients
from purenet.testing.laws import Implementation, law
from purenet.testing.strategies import Problem, layer_sizes, problems

Params = dict[str, Any]


@law(problems())
def logits_are_within_rounding(under_test: Implementation, problem: Problem) -> None:
    """Each logit is as near the exact one as its rounding errors let it be."""
    params, x, _, _ = problem
    logits = under_test.forward(params, x)
    assert_within(logits, oracles.forward(params, x), error_bounds.forward_bound(params, x))


@law(problems())
def loss_is_within_rounding(under_test: Implementation, problem: Problem) -> None:
    """The loss is mean cross-entropy in nats plus the penalty, within rounding errors."""
    params, x, y, l2 = problem
    bound, _ = error_bounds.backward_bound(params, x, y, l2=l2)
    exact = oracles.loss(params, x, y, l2=l2)
    assert_within(under_test.loss(params, x, y, l2=l2), exact, bound)


@law(problems())
def gradient_is_within_rounding(under_test: Implementation, problem: Problem) -> None:
    """Each coordinate of the gradient is as near the exact one as rounding lets it be."""
    params, x, y, l2 = problem
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    _, exact = oracles.backward(params, x, y, l2=l2)
    _, grads = under_test.backward(params, x, y, l2=l2)
    for name in params:
        assert_within(grads[name], exact[name], bounds[name])


@law(problems())
def backward_returns_the_loss(under_test: Implementation, problem: Problem) -> None:
    """The value that comes with the gradient is the loss, in every bit."""
    params, x, y, l2 = problem
    value, _ = under_test.backward(params, x, y, l2=l2)
    assert value == under_test.loss(params, x, y, l2=l2)


@law(problems(dtypes=[np.float64]))
def gradient_is_that_of_the_loss(under_test: Implementation, problem: Problem) -> None:
    """Finite differences of the loss nowhere disagree with the gradient."""
    params, x, y, l2 = problem
    _, grads = under_test.backward(params, x, y, l2=l2)
    report = check_gradients(lambda p: under_test.loss(p, x, y, l2=l2), grads, params)
    assert not report.count("disagrees"), str(report)


@law(problems())
def relu_derivative_at_zero_is_zero(under_test: Implementation, problem: Problem) -> None:
    """Where every input of a hidden unit is exactly 0, no gradient passes it."""
    params, x, y, l2 = problem
    depth = len(params) // 2
    flat = dict(params)
    for k in range(1, depth):
        flat[f"W{k}"] = np.zeros_like(params[f"W{k}"])
        flat[f"b{k}"] = np.zeros_like(params[f"b{k}"])
    _, grads = under_test.backward(flat, x, y, l2=l2)
    for k in range(1, depth):
        assert not grads[f"W{k}"].any()
        assert not grads[f"b{k}"].any()


@law(problems())
def results_have_the_form_of_the_parameters(under_test: Implementation, problem: Problem) -> None:
    """Gradients have the parameters' keys, order and shapes, and every result their dtype."""
    params, x, y, l2 = problem
    value, grads = under_test.backward(params, x, y, l2=np.float64(l2))
    assert list(grads) == list(params)
    for name, p in params.items():
        assert grads[name].shape == p.shape
        assert grads[name].dtype == p.dtype
    results = value, under_test.forward(params, x), under_test.loss(params, x, y, l2=l2)
    assert {result.dtype for result in results} == {params["W1"].dtype}


@law(problems())
def functions_are_pure(under_test: Implementation, problem: Problem) -> None:
    """Arguments are not written, results share no memory with them, equal calls give equal bits."""
    params, x, y, l2 = problem
    given = [*params.values(), x, y]
    before = [array.copy() for array in given]
    calls = []
    for _ in range(2):
        value, grads = under_test.backward(params, x, y, l2=l2)
        loss = under_test.loss(params, x, y, l2=l2)
        calls.append([value, loss, under_test.forward(params, x), *grads.values()])
    for array, copy in zip(given, before, strict=True):
        assert array.tobytes() == copy.tobytes(), "an argument was written"
    for first, second in zip(*calls, strict=True):
        assert first.tobytes() == second.tobytes(), "equal calls gave different bits"
        shared = any(np.shares_memory(first, array) for array in given)
        assert not shared, "a result shares memory with an argument"


@law(problems(), st.integers(1, 7))
def gradient_is_additive(under_test: Implementation, problem: Problem, cut: int) -> None:
    """The gradient of a batch is the size-weighted mean of the gradients of its parts."""
    params, x, y, l2 = problem
    n = len(x)
    parts = [part for part in (slice(0, cut), slice(cut, None)) if len(x[part])]
    _, whole = under_test.backward(params, x, y, l2=l2)
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    for name, g in whole.items():
        mean, tolerance = np.zeros(g.shape), bounds[name]
        for part in parts:
            weight = len(x[part]) / n
            mean += weight * under_test.backward(params, x[part], y[part], l2=l2)[1][name]
            part_bound = error_bounds.backward_bound(params, x[part], y[part], l2=l2)[1][name]
            # the mean itself is taken in float64, which costs no more than a part's own rounding
            tolerance = tolerance + 2 * weight * part_bound
        assert_within(g, mean, tolerance)


@law(problems(), st.randoms(use_true_random=False))
def order_of_examples_changes_nothing(
    under_test: Implementation, problem: Problem, random: Any
) -> None:
    """Permuting the batch permutes logits and leaves the gradient, within rounding."""
    params, x, y, l2 = problem
    order = random.sample(range(len(x)), len(x))
    assert_within(
        under_test.forward(params, x[order]),
        under_test.forward(params, x)[order],
        2 * error_bounds.forward_bound(params, x)[order],
    )
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    _, grads = under_test.backward(params, x, y, l2=l2)
    _, permuted = under_test.backward(params, x[order], y[order], l2=l2)
    for name, g in grads.items():
        assert_within(permuted[name], g, 2 * bounds[name])


@law(problems(), st.randoms(use_true_random=False))
def permuting_hidden_units_permutes_the_gradient(
    under_test: Implementation, problem: Problem, random: Any
) -> None:
    """The order of a layer's units is a matter of names."""
    params, x, y, l2 = problem
    orders = [
        random.sample(range(len(params[f"b{k}"])), len(params[f"b{k}"]))
        for k in range(1, len(params) // 2)
    ]
    _, bounds = error_bounds.backward_bound(params, x, y, l2=l2)
    _, grads = under_test.backward(params, x, y, l2=l2)
    _, permuted = under_test.backward(reordered(params, orders), x, y, l2=l2)
    expected, tolerances = reordered(grads, orders), reordered(bounds, orders)
    for name, g in permuted.items():
        assert_within(g, expected[name], 2 * tolerances[name])


@law(problems(), st.integers(-4, 4))
def shifting_all_logits_changes_no_loss(
    under_test: Implementation, problem: Problem, exponent: int
) -> None:
    """Softmax sees differences of logits only: one number added to the last biases is nothing."""
    params, x, y, l2 = problem
    last = f"b{len(params) // 2}"
    shifted = params | {last: params[last] + params[last].dtype.type(2.0**exponent)}
    added = np.asarray(shifted[last], np.float64) - np.asarray(params[last], np.float64)
    bounds = [error_bounds.backward_bound(p, x, y, l2=l2)[0] for p in (params, shifted)]
    # the sum b + c is rounded; a change of logits by d changes the loss by at most 2 d
    rounded = 2 * np.abs(added - 2.0**exponent).max()
    got, expected = (under_test.loss(p, x, y, l2=l2) for p in (shifted, params))
    assert_within(got, expected, sum(bounds) + rounded)


@law(problems(dtypes=[np.float64]), st.integers(-3, 3))
def rescaling_a_hidden_layer_changes_no_logit(
    under_test: Implementation, problem: Problem, exponent: int
) -> None:
    """ReLU(c z) = c ReLU(z) for c > 0: what one layer gains the next can lose."""
    params, x, _, _ = problem
    c, rescaled = 2.0**exponent, dict(params)
    for k in range(1, len(params) // 2, 2):
        rescaled[f"W{k}"] = params[f"W{k}"] * c
        rescaled[f"b{k}"] = params[f"b{k}"] * c
        rescaled[f"W{k + 1}"] = params[f"W{k + 1}"] / c
    bounds = [error_bounds.forward_bound(p, x) for p in (params, rescaled)]
    got, expected = (under_test.forward(p, x) for p in (rescaled, params))
    assert_within(got, expected, sum(bounds))


@law(problems())
def bad_input_is_refused(under_test: Implementation, problem: Problem) -> None:
    """Labels that name no class, floats, columns and data that is not finite are ValueErrors."""
    params, x, y, _ = problem
    classes = len(params[f"b{len(params) // 2}"])
    signed = y.astype(np.int64)
    wrong = [
        (x, np.where(np.arange(len(y)) == 0, -1, signed)),
        (x, np.where(np.arange(len(y)) == 0, classes, signed)),
        (x, y.astype(np.float64)),
        (x, y[:, None]),
        (x[:0], y[:0]),
        (np.full_like(x, np.nan), y),
        (np.hstack([x, x]), y),
    ]
    for function in (under_test.loss, under_test.backward):
        for bad_x, bad_y in wrong:
            try:
                function(params, bad_x, bad_y)
            except ValueError:
                continue
            raise AssertionError(f"{function} took x {bad_x!r} with y {bad_y!r}")


@law(layer_sizes(), st.integers(0, 2**32), st.sampled_from([np.float32, np.float64]))
def init_draws_what_it_is_asked_for(
    under_test: Implementation, sizes: list[int], seed: int, dtype: Any
) -> None:
    """Equal seeds give equal bits, layers differ, biases are 0, weights have He's deviation."""
    wide = [25 * size for size in sizes]
    params = under_test.init(wide, seed=seed, dtype=dtype)
    again = under_test.init(wide, seed=seed, dtype=dtype)
    assert {p.dtype for p in params.values()} == {np.dtype(dtype)}
    seen = set()
    for k in range(1, len(wide)):
        w, b = params[f"W{k}"], params[f"b{k}"]
        assert w.shape == (wide[k - 1], wide[k])
        assert b.shape == (wide[k],)
        assert not b.any()
        assert w.tobytes() == again[f"W{k}"].tobytes()
        # a standard deviation of m normal numbers is off by 1/√(2m); six of those, and the same
        # of means and of the share of numbers beyond one deviation, 0.317
        m, deviation = w.size, np.sqrt(2 / wide[k - 1])
        assert abs(w.std() / deviation - 1) < 6 / np.sqrt(2 * m)
        assert abs(w.mean() / deviation) < 6 / np.sqrt(m)
        assert abs((np.abs(w) > deviation).mean() - 0.317) < 6 * 0.466 / np.sqrt(m)
        seen.add(w.ravel()[0].item())
    assert len(seen) == len(wide) - 1


def assert_within(got: Any, exact: Any, bound: Any) -> None:
    """Refuse numbers that are further from the exact ones than a bound, or not finite."""
    got = np.asarray(got)
    exact, bound = (np.broadcast_to(np.asarray(a), got.shape) for a in (exact, bound))
    for index in np.ndindex(got.shape):
        number = got[index].item()
        assert np.isfinite(number), f"{index}: {number} instead of {exact[index]}"
        distance = abs(exact[index] - number)
        assert distance <= bound[index], (
            f"{index}: {number} instead of {exact[index]}, off by {float(distance):.3g} where "
            f"rounding explains {bound[index]:.3g}"
        )


def reordered(params: Params, orders: list[list[int]]) -> Params:
    """Permute the hidden units of a network, or of anything shaped like it."""
    result = dict(params)
    for k, order in enumerate(orders, start=1):
        result[f"W{k}"] = result[f"W{k}"][:, order]
        result[f"b{k}"] = result[f"b{k}"][order]
        result[f"W{k + 1}"] = result[f"W{k + 1}"][order]
    return result
