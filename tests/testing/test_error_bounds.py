"""Right results are within the error bounds, and wrong arithmetic violates them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, DTypeLike, NDArray

import purenet
from purenet import backward, forward
from purenet.params import Params
from purenet.testing import error_bounds, oracles
from purenet.testing.error_bounds import backward_bound, forward_bound
from tests.support.problems import problem as ordinary

Batch = tuple[Params, NDArray[Any], NDArray[Any]]
Gradient = tuple[Any, Params]  # with the loss first


def worst(computed: ArrayLike, exact: ArrayLike, bound: ArrayLike) -> float:
    """Return the largest error in units of its bound, infinite for infinity and NaN."""
    ratios = [0.0]
    for c, e, limit in zip(*map(np.ravel, (computed, exact, bound)), strict=True):
        error = abs(e - float(c)) if np.isfinite(c) else math.inf
        if error > 0:
            ratios.append(float(error / limit) if limit else math.inf)
    return max(ratios)


def worst_of_backward(result: Gradient, exact: Gradient, bound: Gradient) -> float:
    """Return the largest error of a loss and its gradient in units of their bounds."""
    of_gradient = [worst(g, exact[1][name], bound[1][name]) for name, g in result[1].items()]
    return max(worst(result[0], exact[0], bound[0]), *of_gradient)


@pytest.mark.parametrize(("label", "expected"), [(0, 0), (1, 1e4), (2, 2e4)])
def test_logits_of_ten_thousand_in_float32_stay_exact(label: int, expected: float) -> None:
    """Logits whose exponentials overflow give losses within 2 eps of the exact ones."""
    params = {"W1": np.array([[1e4, 0, -1e4]], np.float32), "b1": np.zeros(3, np.float32)}
    batch = params, np.ones((1, 1), np.float32), np.array([label])
    value, grads = backward(*batch)
    assert abs(float(value) - expected) <= 2 * np.finfo(np.float32).eps * expected
    certain = np.eye(3)[0] - np.eye(3)[label]  # the other probabilities are below e^-10000
    np.testing.assert_array_equal(grads["b1"], certain)
    assert worst_of_backward((value, grads), oracles.backward(*batch), backward_bound(*batch)) <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(3))
def test_bounds_on_ordinary_networks_are_neither_vacuous_nor_loose(
    seed: int, dtype: DTypeLike
) -> None:
    """Bounds are below 1000 eps of the results, and the largest errors exceed 1/200 of them.

    Loss, logits and gradients are bounded by 100, 60 and 270 eps of their largest numbers, and
    their largest errors are 1/350, 1/40 and 1/30 of their bounds (medians).
    """
    batch = ordinary(20, 20, 10, n=8, seed=seed, dtype=dtype)
    value, grads = backward(*batch)
    value_bound, bounds = backward_bound(*batch)
    logits, logits_bound = forward(*batch[:2]), forward_bound(*batch[:2])
    enough = 1000 * np.finfo(dtype).eps
    assert value_bound < enough * value
    assert logits_bound.max() < enough * abs(logits).max()
    for name, g in grads.items():
        assert bounds[name].max() < enough * abs(g).max()
    assert worst(logits, oracles.forward(*batch[:2]), logits_bound) > 1 / 200
    exact = oracles.backward(*batch)
    assert worst_of_backward((value, grads), exact, (value_bound, bounds)) > 1 / 200


def test_float32_is_not_within_the_bound_of_float64() -> None:
    """Results in float32 violate the bounds of the same network in float64."""
    batch = ordinary(4, 3, 2, dtype=np.float32)
    in_float64 = {name: p.astype(np.float64) for name, p in batch.params.items()}, *batch[1:]
    exact, bound = oracles.backward(*batch), backward_bound(*in_float64)
    assert worst_of_backward(backward(*in_float64), exact, bound) <= 1
    assert worst_of_backward(backward(*batch), exact, bound) > 1000


def shifted(z: NDArray[Any]) -> NDArray[Any]:
    """Return log softmax(z), computed in the right way."""
    z = z - z.max(axis=1, keepdims=True)
    log_p: NDArray[Any] = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return log_p


def unshifted(z: NDArray[Any]) -> NDArray[Any]:
    """Return log softmax(z) from exponentials that may overflow."""
    with np.errstate(all="ignore"):
        log_p: NDArray[Any] = np.log(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))
    return log_p


def shifted_back(z: NDArray[Any]) -> NDArray[Any]:
    """Return log softmax(z), with the maximum added to the logarithm before it is subtracted."""
    m = z.max(axis=1, keepdims=True)
    log_p: NDArray[Any] = z - (m + np.log(np.exp(z - m).sum(axis=1, keepdims=True)))
    return log_p


def clipped(z: NDArray[Any]) -> NDArray[Any]:
    """Return log softmax(z) with probabilities that are kept away from 0 and 1."""
    log_p: NDArray[Any] = np.log(np.clip(np.exp(shifted(z)), 1e-7, 1 - 1e-7))
    return log_p


def of_11_bits(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Multiply matrices after rounding them to 11 bits, as tensor cores do."""
    a, b = (np.ldexp(np.round(np.ldexp(m, 11)), e - 11) for m, e in map(np.frexp, (a, b)))
    product: NDArray[Any] = a @ b
    return product


def perceptron(
    batch: Batch,
    *,
    product: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] = np.matmul,
    log_softmax: Callable[[NDArray[Any]], NDArray[Any]] = shifted,
    derivative: Callable[[NDArray[Any], float], NDArray[Any]] = np.greater,
) -> Gradient:
    """Compute loss and gradient of two layers from parts that may be wrong ones."""
    params, x, y = batch
    z = product(x, params["W1"]) + params["b1"]
    a = np.maximum(z, 0)
    log_p = log_softmax(product(a, params["W2"]) + params["b2"])
    t = np.eye(log_p.shape[1], dtype=log_p.dtype)[y]
    delta = (np.exp(log_p) - t) / len(x)
    delta_1 = np.where(derivative(z, 0), product(delta, params["W2"].T), 0)
    return -log_p[t > 0].mean(), {
        "W1": product(x.T, delta_1),
        "b1": delta_1.sum(axis=0),
        "W2": product(a.T, delta),
        "b2": delta.sum(axis=0),
    }


def one_unit(w_1: float, *w_2: float) -> Batch:
    """Return a float32 network 1-1-C without biases, with the example x = 1 of class 0."""
    params = {"W1": [[w_1]], "b1": [0], "W2": [w_2], "b2": [0] * len(w_2)}
    arrays = {name: np.array(p, np.float32) for name, p in params.items()}
    return arrays, np.ones((1, 1), np.float32), np.array([0])


@pytest.mark.parametrize(
    ("wrong", "batch"),
    [
        ({"log_softmax": unshifted}, one_unit(1, 0, 1e4)),
        ({"log_softmax": shifted_back}, one_unit(1, 1e4, 1e4 - 8)),
        ({"log_softmax": clipped}, one_unit(1, 0, 30)),
        ({"log_softmax": clipped}, one_unit(1, 30, 0)),
        ({"product": of_11_bits}, ordinary(20, 20, 10, dtype=np.float32)),
        ({"derivative": np.greater_equal}, one_unit(0, 1, 2)),
    ],
)
def test_wrong_arithmetic_violates_the_bounds(wrong: dict[str, Any], batch: Batch) -> None:
    """A network is within the bounds with the right part, and beyond them with a wrong one."""
    exact, bound = oracles.backward(*batch), backward_bound(*batch)
    assert worst_of_backward(perceptron(batch), exact, bound) <= 1
    assert worst_of_backward(perceptron(batch, **wrong), exact, bound) > 1


def test_bound_allows_both_derivatives_where_rounding_decides_a_sign() -> None:
    """The bound allows the gradients 1/2 and 0 where 0.5 · 5e-324 is positive but rounds to 0."""
    params = {"W1": np.array([[0.5]]), "b1": np.zeros(1), "W2": np.array([[0.0, 1.0]])}
    batch = params | {"b2": np.zeros(2)}, np.array([[5e-324]]), np.array([0])
    result, exact, bound = backward(*batch), oracles.backward(*batch), backward_bound(*batch)
    assert result[1]["b1"] == 0
    assert exact[1]["b1"] == 0.5
    assert 0.999 < worst_of_backward(result, exact, bound) <= 1


def test_bound_allows_subnormals_to_be_flushed_to_zero() -> None:
    """The bound allows the zeros of hardware that flushes subnormal numbers to zero."""
    params = {"W1": np.array([[1e4, 0]]), "b1": np.array([0.0, 5e-324])}
    x = np.array([[1e-310]])
    exact, bound = oracles.forward(params, x), forward_bound(params, x)
    assert worst(forward(params, x), exact, bound) <= 1
    assert worst(np.zeros((1, 2)), exact, bound) <= 1
    assert bound.max() < 1e-300


def test_bound_is_zero_where_nothing_is_rounded() -> None:
    """The bound is 0 for a gradient through a unit at or below 0, and for its outputs."""
    _, bounds = backward_bound(*one_unit(0, 1, 2))
    assert bounds["W1"] == bounds["b1"] == 0
    _, bounds = backward_bound(*one_unit(-1, 1, 2))
    assert bounds["W1"] == bounds["b1"] == 0
    assert not bounds["W2"].any()


def test_bound_allows_functions_within_four_ulp() -> None:
    """An exponential and a logarithm that are both 3 eps too large stay within the bound."""

    def sloppy(z: NDArray[Any]) -> NDArray[Any]:
        larger = np.float32(1 + 3 * np.finfo(np.float32).eps)
        z = z - z.max(axis=1, keepdims=True)
        log_p: NDArray[Any] = z - larger * np.log((larger * np.exp(z)).sum(axis=1, keepdims=True))
        return log_p

    batch = one_unit(0, 0, 0, 0)
    result, exact = perceptron(batch, log_softmax=sloppy), oracles.backward(*batch)
    assert abs(float(result[0]) - exact[0]) > 4 * np.finfo(np.float32).eps
    assert worst_of_backward(result, exact, backward_bound(*batch)) <= 1


def test_bound_allows_for_the_digits_that_large_logits_lose() -> None:
    """The bound grows with 10⁴ added to every logit, which takes digits from each logit."""
    params, x, y = ordinary(4, 3, 2, dtype=np.float32)
    params["b2"] += 1e4
    result, exact = backward(params, x, y), oracles.backward(params, x, y)
    assert abs(float(result[0]) - exact[0]) > 100 * np.finfo(np.float32).eps
    assert worst_of_backward(result, exact, backward_bound(params, x, y)) <= 1


def ratio(off: Any, bound: Any) -> float:
    """Return the largest error as a share of its bound."""
    return float(np.max(np.abs(np.asarray(off, float)) / bound))


def test_an_accumulator_may_begin_with_the_penalty() -> None:
    """A gradient whose sum over the batch starts at l2 W is right (review, hole 1)."""
    params = {"W1": np.ones((1, 2), np.float32), "b1": np.zeros(2, np.float32)}
    x, y = np.full((256, 1), 0.002, np.float32), np.zeros(256, int)
    delta = (purenet.predict_proba(params, x) - np.eye(2, dtype=np.float32)[y]) / np.float32(256)
    total = params["W1"].copy()
    for i in range(256):
        total += x[i, :, None] * delta[i]
    _, exact = oracles.backward(params, x, y, l2=1.0)
    _, bounds = error_bounds.backward_bound(params, x, y, l2=1.0)
    assert 0.1 < ratio(exact["W1"] - total, bounds["W1"]) <= 1


def test_one_minus_beta_may_be_computed_from_a_rounded_beta() -> None:
    """With β = float32(0.999), 1 - β is off by u β (review, hole 2)."""
    one = {"b1": np.ones(1, np.float32)}
    rest = {"b1": np.zeros(1, np.float32)}
    got = (np.float32(1) - np.float32(0.999)) * one["b1"]
    rates = {"learning_rate": 0.1, "momentum": 0.999}
    exact = oracles.momentum_step(rest, rest, one, **rates)[1]["b1"]
    bound = error_bounds.step_bound(rest, rest, one, **rates)[1]["b1"]
    assert 0.1 < ratio(exact - got, bound) <= 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_delta_of_a_label_may_be_minus_the_others(dtype: Any) -> None:
    """δ_y = -Σ_{j≠y} p_j is right (review, hole 3)."""
    worst = 0.0
    for classes in range(2, 60):
        z = np.random.default_rng(classes).normal(size=classes).astype(dtype)
        z[0] = -8
        params = {"W1": z[None, :], "b1": np.zeros(classes, dtype)}
        x, y = np.ones((1, 1), dtype), np.array([0])
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        _, exact = oracles.backward(params, x, y)
        _, bounds = error_bounds.backward_bound(params, x, y)
        worst = max(worst, ratio(exact["b1"][0] + p[1:].sum(), bounds["b1"][0]))
    assert worst <= 1
