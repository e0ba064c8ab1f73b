"""The verdicts are sound: right gradients never disagree, and wrong ones never agree."""

import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, DTypeLike, NDArray

from purenet import backward, init, loss
from purenet.params import Params, is_weight
from purenet.testing.gradients import EXHAUSTIVE, Check, GradientReport, Method, check_gradients

Scalar = Callable[[Any], Any]  # a function of one number of NumPy, real or complex
Objective = Callable[[Params], Any]

EPS = float(np.finfo(np.float64).eps)
RANDOM = np.random.default_rng(0)

# f and f' of one number, with places where both are of ordinary size, or 0, or far apart in size.
SMOOTH: dict[str, tuple[Scalar, Scalar, tuple[float, ...]]] = {
    "quadratic": (lambda x: 3 * x * x + x, lambda x: 6 * x + 1, (0.0, 0.3, -2.0, 1e4)),
    "quartic": (lambda x: x**4, lambda x: 4 * x**3, (0.0, 1e-3, -2.0, 50.0)),
    "exponential": (np.exp, np.exp, (0.0, -20.0, 3.0, 20.0)),
    "sine": (np.sin, np.cos, (0.0, 0.3, -2.0, 40.0)),
    "steep sine": (lambda x: np.sin(1e3 * x), lambda x: 1e3 * np.cos(1e3 * x), (0.0, 0.3, 5.0)),
    "steep sigmoid": (
        lambda x: 1 / (1 + np.exp(-1e6 * x)),
        lambda x: 1e6 / (2 + np.exp(1e6 * x) + np.exp(-1e6 * x)),
        (0.0, 1e-6, -3e-7),
    ),
    "rational": (lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2, (0.0, 0.3, -9.0)),
    "logarithm": (np.log, lambda x: 1 / x, (1e-7, 0.01, 1.0, 30.0)),
    "constant": (lambda x: 0 * x + 4, lambda x: 0 * x, (0.0, 2.0)),
}
PLACES = [(name, x) for name, (_, _, places) in SMOOTH.items() for x in places]


def scalar(f: Scalar, claim: ArrayLike, x: ArrayLike, dtype: DTypeLike = np.float64) -> Check:
    """Check the claimed derivative f'(x), and return the single check."""
    grads, params = {"x": np.array(claim, dtype)}, {"x": np.array(x, dtype)}
    return check_gradients(lambda p: f(p["x"]), grads, params).checks[0]


def network_loss(
    sizes: list[int],
    *,
    seed: int = 0,
    n: int = 9,
    dtype: DTypeLike = np.float64,
    scale: str | float = "he",
    l2: float = 0.01,
) -> tuple[Params, Objective, Params]:
    """Return a network with biases that are not 0, its loss as a function, and its gradient."""
    rng = np.random.default_rng(seed)
    params = init(sizes, seed=seed, dtype=dtype, scale=scale)
    for k in range(1, len(sizes)):
        params[f"b{k}"] = (0.1 * rng.standard_normal(sizes[k])).astype(dtype)
    x, y = rng.random((n, sizes[0])), rng.integers(0, sizes[-1], n)
    return params, lambda p: loss(p, x, y, l2=l2), backward(params, x, y, l2=l2)[1]


def largest(g: NDArray[Any]) -> tuple[np.intp, ...]:
    """Return the index of the entry of largest magnitude."""
    return np.unravel_index(np.argmax(np.abs(g)), g.shape)


@pytest.mark.parametrize(("name", "x"), PLACES)
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1e6, 1), (0, 1e-8), (0, 1e8)])
def test_right_derivatives_of_smooth_functions_agree_and_wrong_ones_disagree(
    name: str, x: float, offset: float, scale: float
) -> None:
    """Derivatives off by 3 times the reported tolerance disagree, whatever the size of f."""
    f, derivative, _ = SMOOTH[name]

    def g(v: Any) -> Any:
        return offset + scale * f(v)

    right = scale * derivative(np.float64(x))
    check = scalar(g, right, x)
    hidden = check.tolerance > abs(right) / 2 > 0  # by the offset
    assert check.verdict == ("insensitive" if hidden else "agrees"), check
    # 3: the slope may be off by one tolerance, and another claim may have another tolerance.
    for factor in (3, -3, 1e4):
        assert scalar(g, right + factor * (check.tolerance or EPS), x).verdict == "disagrees"


@pytest.mark.parametrize("name", ["quadratic", "exponential", "sine", "rational"])
def test_a_relative_error_of_1e8_is_seen_in_float64(name: str) -> None:
    """A relative error of 1e-8 disagrees: with noise eps |f|, 5 (1 + 4) eps / cbrt(eps) is 1e-9."""
    f, derivative, _ = SMOOTH[name]
    right = derivative(np.float64(0.3))
    assert scalar(f, right, 0.3).verdict == "agrees"
    assert scalar(f, right * (1 + 1e-8), 0.3).verdict == "disagrees"


@pytest.mark.parametrize("name", ["quadratic", "exponential", "sine", "rational"])
def test_a_relative_error_of_1e4_is_seen_in_float32_gradients_of_functions_in_float64(
    name: str,
) -> None:
    """A relative error of 1e-4 disagrees: 64 eps of three terms like the derivative is 2e-5."""
    f, derivative, _ = SMOOTH[name]
    x = np.float32(0.3)
    right = derivative(np.float64(x))
    assert scalar(f, right, x, np.float32).verdict == "agrees"
    assert scalar(f, right * (1 + 1e-4), x, np.float32).verdict == "disagrees"


@pytest.mark.parametrize("name", ["quadratic", "exponential", "sine", "rational"])
@pytest.mark.parametrize("as_result", [np.float32, float])
def test_functions_in_float32_are_known_by_their_noise_and_checked_to_a_hundredth(
    name: str, as_result: Scalar
) -> None:
    """An error of 1/100 disagrees even for a Python float: 5 (1 + 4) eps / cbrt(eps) is 6e-4."""
    f, derivative, _ = SMOOTH[name]

    def narrow(v: Any) -> Any:
        return as_result(f(np.float32(v)))

    for x in (0.3, 0.7, -1.1):
        right = derivative(np.float64(np.float32(x)))
        assert scalar(narrow, right, x, np.float32).verdict == "agrees"
        assert scalar(narrow, right * 1.01 + 0.01, x, np.float32).verdict == "disagrees"


def test_a_function_that_refuses_float64_is_checked_in_float32() -> None:
    """A function that raises for float64, like PyTorch with float32 data, is still checked."""

    def f(p: Params) -> Any:
        if p["w"].dtype != np.float32:
            raise TypeError("expected float32")
        return np.sum(p["w"] ** 2)

    w = np.array([0.3, -2.0], np.float32)
    assert check_gradients(f, {"w": 2 * w}, {"w": w}).count("agrees") == 2
    assert check_gradients(f, {"w": 2.1 * w}, {"w": w}).count("disagrees") == 2


def test_the_tolerance_of_a_small_function_on_a_large_offset_is_the_noise_of_the_offset() -> None:
    """On an offset of 1e6 the tolerance is about 1e6 eps / h, the rounding of the offset."""
    check = scalar(lambda x: 1e6 + 1e-3 * np.sin(x), 1e-3 * np.cos(0.5), 0.5)
    noise = 1e6 * EPS / np.cbrt(EPS)
    assert check.verdict == "agrees"
    assert noise / 2 < check.tolerance < 50 * noise


def test_noise_is_measured_where_it_does_not_show_in_the_value() -> None:
    """The noise 1e8 eps of (sin x + 1e8) - 1e8, of size 1, refuses no right derivative."""
    for x in np.random.default_rng(0).uniform(-2, 2, 25):
        assert scalar(lambda v: (np.sin(v) + 1e8) - 1e8, np.cos(x), x).verdict == "agrees"
        assert scalar(lambda v: (np.sin(v) + 1e8) - 1e8, np.cos(x) + 0.1, x).verdict == "disagrees"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_exact(dtype: Any) -> None:
    """The slope of a line is exactly 1, because θ + h and θ - h are numbers of the dtype."""
    for x in (*np.random.default_rng(0).uniform(-4, 4, 50).astype(dtype), *dtype([-2, -1, 1, 2])):
        check = scalar(lambda v: v if v.dtype == dtype else np.float32(v), 1.0, x, dtype)
        assert check.numeric == 1.0


def test_a_gradient_may_have_lost_its_digits_by_cancellation() -> None:
    """A float32 gradient may be mostly the rounding of terms that cancel."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1000, 3)).astype(np.float32)
    y -= x * np.sum(x * y, 0) / np.sum(x * x, 0)

    def f(p: Params) -> Any:
        return np.sum((p["w"] * x - y) ** 2) / 2

    grads = {"w": -np.sum(x * y, 0)}
    report = check_gradients(f, grads, {"w": np.zeros(3, np.float32)})
    assert not report.count("disagrees"), report
    assert np.any(np.abs(grads["w"] + np.sum(x.astype(float) * y, 0)) > 1e-3 * np.abs(grads["w"]))


def test_a_float32_gradient_may_have_lost_digits_where_a_probability_is_nearly_1() -> None:
    """A float32 gradient agrees though 1 - p and log p have a relative error of eps / (1 - p)."""
    x, y = np.ones((1, 1), np.float32), np.array([0])
    for z in np.linspace(4, 16, 20):
        params = {"W1": np.zeros((1, 2), np.float32), "b1": np.array([z, 0], np.float32)}
        grads = backward(params, x, y)[1]
        assert not check_gradients(lambda p: loss(p, x, y), grads, params).count("disagrees")


def test_a_gradient_may_underflow() -> None:
    """The float32 gradient 0 does not disagree with the derivative 1e-50."""
    grads, params = {"w": np.zeros(2, np.float32)}, {"w": np.full(2, 1e-4, np.float32)}
    report = check_gradients(lambda p: 1e-50 * np.sum(p["w"]), grads, params)
    assert report.count("insensitive") == 2


def test_a_value_that_has_lost_its_digits_refuses_no_right_derivative() -> None:
    """Where log(1 + exp(-x)) has been rounded to 0, the check says that it sees nothing."""
    params = {"x": np.array([50.0])}
    grads = {"x": -np.exp(-params["x"])}
    report = check_gradients(lambda p: np.log(1 + np.exp(-p["x"][0])), grads, params)
    assert report.count("insensitive") == 1


def test_checks_cost_four_values_where_all_is_well_and_a_few_dozen_where_not() -> None:
    """After the noise is measured, a coordinate costs 4 values of f, 61 if wrong, 24 at a kink."""
    calls: list[Params] = []

    def f(p: Params) -> Any:
        calls.append(p)
        return 2.3 + 1e-3 * np.sum(np.abs(p["x"]))

    def cost(n: int, x: float, grad: float) -> int:
        calls.clear()
        check_gradients(f, {"x": np.full(n, grad)}, {"x": np.full(n, x)})
        return len(calls)

    assert cost(101, 1.0, 1e-3) - cost(1, 1.0, 1e-3) == 4 * 100
    assert cost(101, 1.0, 1.0) - cost(1, 1.0, 1.0) == (4 + 25 + 32) * 100
    assert cost(101, 0.0, 0.0) - cost(1, 0.0, 0.0) <= 24 * 100


@pytest.mark.parametrize("offset", [0.0, 2.3])
@pytest.mark.parametrize("claim", [0.0, 1.0, 0.5, -7.0])
@pytest.mark.parametrize(("kink", "left"), [(np.abs, -1), (lambda x: np.maximum(x, 0), 0)])
def test_at_a_kink_there_is_no_answer(kink: Scalar, left: int, claim: float, offset: float) -> None:
    """At 0, |x| and ReLU are inconclusive; the tolerance spans all slopes from left to right."""
    check = scalar(lambda x: offset + kink(x), claim, 0.0)
    assert check.verdict == "inconclusive"
    assert check.numeric == pytest.approx((1 + left) / 2, abs=1e-8)
    assert check.tolerance == pytest.approx((1 - left) / 2, abs=1e-8)


@given(
    st.sampled_from([np.abs, lambda x: np.maximum(x, 0)]),
    st.floats(-12, 0),
    st.sampled_from([-1, 1]),
    st.sampled_from([0.0, 2.3]),
    st.floats(-6, 1),
    st.sampled_from([0.0, 1.0]),
)
def test_a_kink_at_any_distance_makes_no_right_derivative_wrong(
    kink: Scalar, exponent: float, side: int, offset: float, jump: float, smooth: float
) -> None:
    """A kink at a distance of 1e-12 to 1, on either side, never makes a right claim disagree."""
    x, size = side * 10.0**exponent, 10.0**jump

    def f(v: Any) -> Any:
        return offset + smooth * np.sin(v + 1) + size * kink(v)

    slope = {1: 1.0, -1: -1.0 if kink is np.abs else 0.0}[side]
    right = smooth * np.cos(x + 1) + size * slope
    check = scalar(f, right, x)
    assert check.verdict != "disagrees", check
    # A slope over a step within d tells a kink at d from one at 0. It is known to 25 eps |f| / d.
    # Steps go down by 4 and the jump must be 20 roundings, which makes 25 * 4 * 4 * 20 eps / d.
    if abs(x) * size > 8000 * EPS * (abs(f(x)) + 1):
        assert check.verdict == "agrees"
        assert scalar(f, right + size / 2, x).verdict == "disagrees"


@pytest.mark.parametrize("as_result", [np.float64, np.float32])
def test_kinks_hidden_behind_each_other_make_no_right_derivative_wrong(as_result: Any) -> None:
    """Many kinks of random sign and size within a step never make a right claim disagree."""
    rng = np.random.default_rng(0)
    step = np.cbrt(np.finfo(as_result).eps)
    verdicts = []
    for _ in range(60):
        m = rng.poisson(10.0 ** rng.uniform(-1, 3))
        d = 16 * step * rng.uniform(-1, 1, m)
        jumps = step * 10.0 ** rng.uniform(-2, 2) * rng.standard_normal(m)

        def f(x: Any, d: NDArray[Any] = d, jumps: NDArray[Any] = jumps) -> Any:
            return as_result(2.3 + np.sin(x + 1) + np.sum(jumps * np.maximum(x - d, 0)))

        right = np.cos(1) + np.sum(jumps[d < 0])
        verdicts.append(scalar(f, right, 0.0).verdict)
        assert scalar(f, right + 1 + 2 * np.sum(np.abs(jumps)), 0.0).verdict != "agrees"
    assert "disagrees" not in verdicts
    assert verdicts.count("agrees") > 40


def test_a_kink_nearer_than_float32_can_tell_makes_no_float32_gradient_wrong() -> None:
    """A float32 gradient of 0 at z = 0 never disagrees, though in float64 z is about ±1e-9."""
    for x in np.random.default_rng(0).random((20, 2)).astype(np.float32):
        params = {"w": x, "b": -np.sum(x * np.float32(0.7), keepdims=True)}

        def f(p: Params) -> Any:
            return np.sum(np.maximum(np.sum(p["w"] * np.float32(0.7)) + p["b"], 0))

        assert f(params) == 0
        report = check_gradients(f, {name: 0 * p for name, p in params.items()}, params)
        assert report.count("disagrees") == 0, report


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (lambda x: np.maximum(x, 0) ** 2, 0.0),
        (lambda x: x * np.abs(x), 0.0),
        (lambda x: x + np.abs(x) ** 1.5, 1.0),
        (lambda x: np.clip(x, -1e-9, 1e-9), 1.0),
        (lambda x: 1 + np.clip(x, -1e-9, 1e-9), 1.0),
        (lambda x: x + 1e-6 * np.sin(1e5 * x), 1.1),
    ],
)
def test_a_derivative_that_exists_beside_kinks_and_fine_structure_is_not_refused(
    f: Scalar, derivative: float
) -> None:
    """A right claim never disagrees at jumps of f″, nor at structure finer than the first step."""
    assert scalar(f, derivative, 0.0).verdict != "disagrees"


@pytest.mark.parametrize("f", [lambda x: np.sqrt(np.abs(x)), np.cbrt, lambda x: float(x > 0)])
def test_where_no_derivative_exists_no_claim_agrees(f: Scalar) -> None:
    """No claim agrees at an infinite slope or at a jump of f."""
    assert all(scalar(f, claim, 0.0).verdict != "agrees" for claim in (0.0, 1.0, 1e6))


@settings(max_examples=20)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["he", 0.01, 1.0]),
    st.sampled_from(["central", "complex-step"]),
)
def test_right_networks_never_disagree(
    sizes: list[int], seed: int, n: int, dtype: DTypeLike, scale: str | float, method: Method
) -> None:
    """Right networks never disagree; most derivatives agree, and less than 10 % are at kinks."""
    params, f, grads = network_loss(sizes, seed=seed, n=n, dtype=dtype, scale=scale)
    report = check_gradients(f, grads, params, method=method)
    assert report.count("disagrees") == 0, report
    assert report.count("agrees") >= 0.5 * len(report.checks), report
    assert report.count("agrees") + report.count("insensitive") >= 0.9 * len(report.checks), report


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "d", [0.0, *(side * 10.0**-k for k in range(1, 17, 3) for side in (1, -1))]
)
def test_a_network_near_a_kink_is_not_refused(dtype: Any, d: float) -> None:
    """If one unit has z = d for one example, only what moves that unit may be inconclusive."""
    params, _, _ = network_loss([3, 5, 4], seed=3, dtype=dtype)
    x, y = np.random.default_rng(3).random((6, 3)), np.array([0, 1, 2, 3, 0, 1])
    x[0] = [1, 0, 0]
    params["b1"][2] = -params["W1"][0, 2] + dtype(d)

    def f(p: Params) -> Any:
        return loss(p, x, y)

    report = check_gradients(f, backward(params, x, y)[1], params)
    unclear = {check.where for check in report.checks if check.verdict == "inconclusive"}
    assert report.ok, report
    assert unclear <= {"W1[0, 2]", "b1[2]"}
    assert (len(unclear) == 2) >= (d == 0)


WRONG: dict[str, Callable[[Params, Params, int], Params]] = {
    "sum instead of mean": lambda g, _p, n: {k: n * v for k, v in g.items()},
    "L2 on biases": lambda g, p, _n: {
        k: v + 0.01 * p[k] * (not is_weight(k)) for k, v in g.items()
    },
    "no L2": lambda g, p, _n: {k: v - 0.01 * p[k] * is_weight(k) for k, v in g.items()},
    "L2 by batch": lambda g, p, n: {
        k: v + (1 / n - 1) * 0.01 * p[k] * is_weight(k) for k, v in g.items()
    },
    "sign": lambda g, _p, _n: g | {"b1": -g["b1"]},
    "square layer transposed": lambda g, _p, _n: g | {"W2": g["W2"].T},
    "zero": lambda g, _p, _n: {k: 0 * v for k, v in g.items()},
    "bias averaged": lambda g, _p, n: {k: v if is_weight(k) else v / n for k, v in g.items()},
    "a millionth": lambda g, _p, _n: g | {"W1": g["W1"] * (1 + 1e-6)},
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("method", ["central", "complex-step"])
def test_wrong_networks_always_disagree(name: str, method: Method) -> None:
    """The arrays of a gradient that disagree are those that are wrong, whatever the seed."""
    for seed in range(2):
        params, f, grads = network_loss([2, 3, 3, 3], seed=seed)
        wrong = WRONG[name](grads, params, 9)
        report = check_gradients(f, wrong, params, method=method)
        named = {check.name for check in report.checks if check.verdict == "disagrees"}
        assert named == {k for k in params if np.any(wrong[k] != grads[k])}, report


def test_one_bias_wrong_by_a_ten_thousandth_is_named() -> None:
    """The report names the one wrong bias, and shows the claimed and the right number."""
    params, f, grads = network_loss([4, 5, 3])
    i = largest(grads["b1"])
    right, grads["b1"][i] = grads["b1"][i], grads["b1"][i] * (1 + 1e-4)
    report = check_gradients(f, grads, params)
    assert [c.where for c in report.checks if c.verdict == "disagrees"] == [f"b1[{i[0]}]"]
    row = next(line for line in str(report).splitlines() if line.startswith(f"b1[{i[0]}]"))
    claimed, numeric = map(float, row.split()[1:3])
    assert claimed == grads["b1"][i]
    assert numeric == pytest.approx(right, rel=1e-7)


def test_a_float32_network_for_mnist_agrees() -> None:
    """All sampled coordinates and directions of a 784-200-50-10 network agree."""
    params, f, grads = network_loss([784, 200, 50, 10], n=4, dtype=np.float32, l2=1e-4)
    report = check_gradients(f, grads, params, coordinates=4, directions=1)
    report.raise_if_wrong()
    assert report.count("agrees") + report.count("insensitive") == len(report.checks) == 6 * 4 + 1
    assert report.count("agrees") >= 22


def test_directions_find_one_wrong_coordinate_among_many() -> None:
    """A wrong coordinate that was not drawn is found by halving a direction that disagrees."""
    params, f, grads = network_loss([30, 40, 20, 5], n=20)
    assert sum(p.size for p in params.values()) > EXHAUSTIVE
    drawn = {c.where for c in check_gradients(f, grads, params, coordinates=3, directions=0).checks}
    i = largest(grads["W2"])
    where = f"W2[{i[0]}, {i[1]}]"
    assert where not in drawn
    grads["W2"][i] *= 1.001
    report = check_gradients(f, grads, params, coordinates=3, directions=3)
    wrong = [c.where for c in report.checks if c.verdict == "disagrees"]
    assert wrong == [where, "direction 0", "direction 1", "direction 2"]
    counts = report.by_array()  # of coordinates, without the directions
    assert [sum(counts[name].values()) for name in params] == [3, 3, 4, 3, 3, 3]
    assert counts["W2"]["disagrees"] == 1


def test_directions_through_thousands_of_units_are_conclusive_in_float64() -> None:
    """Directions agree though they cross kinks at the first steps."""
    params, f, grads = network_loss([20, 100, 50, 5], n=60)
    report = check_gradients(f, grads, params, coordinates=1, directions=6)
    assert report.count("agrees") == len(report.checks) == 6 + 6


def test_the_seed_alone_decides_what_is_drawn() -> None:
    """Equal seeds give equal reports, and different seeds give different ones."""
    params, f, grads = network_loss([30, 40, 5], n=3)

    def draw(seed: int) -> GradientReport:
        return check_gradients(f, grads, params, coordinates=2, directions=1, seed=seed)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize("name", ["quadratic", "exponential", "sine", "rational"])
def test_the_complex_step_sees_a_relative_error_of_1e12(name: str) -> None:
    """A relative error of 1e-12 disagrees: the rounding of the claim, 3 * 64 eps, is 4e-14."""
    f, derivative, _ = SMOOTH[name]
    x = np.array(0.3)
    for factor, verdict in ((1, "agrees"), (1 + 1e-12, "disagrees")):
        report = check_gradients(
            lambda p: f(p["x"]), {"x": factor * derivative(x)}, {"x": x}, method="complex-step"
        )
        assert report.checks[0].verdict == verdict, report


def test_the_complex_step_has_no_answer_at_a_kink() -> None:
    """The complex step is inconclusive at 0, where NumPy compares numbers by imaginary parts."""
    report = check_gradients(
        lambda p: np.sum(np.where(p["x"] > 0, p["x"], 0) + p["x"] ** 2),
        {"x": np.array([0.0, 3.0])},
        {"x": np.array([0.0, 1.0])},
        method="complex-step",
    )
    assert [check.verdict for check in report.checks] == ["inconclusive", "agrees"]


def test_nothing_conclusive_is_an_error() -> None:
    """A report without a conclusive coordinate is not `ok`, and raises."""
    report = check_gradients(
        lambda p: np.sum(np.abs(p["x"])), {"x": np.zeros(3)}, {"x": np.zeros(3)}
    )
    assert not report.ok
    with pytest.raises(AssertionError, match="nothing has been checked"):
        report.raise_if_wrong()


def test_reports_count_verdicts_and_show_the_worst_first() -> None:
    """A report shows disagreements first, then kinks, then agreements."""
    params = {"w": np.array([[1.0, 2.0]]), "b": np.array(0.0)}
    grads = {"b": np.array(0.0), "w": np.array([[2.0, 5.0]])}
    report = check_gradients(lambda p: np.sum(p["w"] ** 2) + abs(p["b"]), grads, params)
    counts = [report.count(v) for v in ("agrees", "disagrees", "inconclusive")]
    assert counts == [1, 1, 1]
    assert [line.split()[0] for line in str(report).splitlines()] == [
        *("gradient", "w:", "b:", "claimed", "w[0,", "b", "w[0,")
    ]
    assert "1 agrees, 1 disagrees, 1 inconclusive, 0 insensitive (3 of 3 coord" in str(report)
    with pytest.raises(AssertionError, match=re.escape("w[0, 1]")):
        report.raise_if_wrong()
    GradientReport(report.checks[:1], 1, "central").raise_if_wrong()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("sizes", [[4, 5, 3], [30, 40, 5]])
def test_gradients_that_are_not_finite_disagree_and_are_named(
    value: float, sizes: list[int]
) -> None:
    """NaN and infinity in a gradient disagree, even where few coordinates are drawn."""
    params, f, grads = network_loss(sizes)
    grads["W1"][3, 4] = value
    report = check_gradients(f, grads, params, coordinates=2, directions=0)
    assert "W1[3, 4]" in {c.where for c in report.checks if c.verdict == "disagrees"}
    assert not report.ok


def test_a_function_that_is_not_finite_beside_its_point_disagrees() -> None:
    """A claim disagrees for sqrt at 0, where it has a value and no derivative."""
    check = scalar(np.sqrt, 0.0, 0.0)
    assert check.verdict == "disagrees"
    assert math.isnan(check.numeric)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("pole", [(1e-7, np.inf), (2e-6, 5e-6)])
def test_a_function_that_overflows_nearby_is_checked_at_finer_steps(
    pole: tuple[float, float], value: float
) -> None:
    """A function that overflows or is NaN at the first steps is checked at finer ones."""

    def f(x: NDArray[Any]) -> NDArray[Any]:
        return np.where((x > pole[0]) & (x < pole[1]), value, np.exp(x))

    assert scalar(f, 1.0, 0.0).verdict == "agrees"
    assert scalar(f, 1.1, 0.0).verdict == "disagrees"


def test_float32_steps_do_not_vanish() -> None:
    """An f that refuses float64, returns a Python float and is finite nearby alone is checked."""

    def f(x: NDArray[Any]) -> float:
        if x.dtype != np.float32:
            raise TypeError("expected float32")
        return float(np.abs(x - 1)) if np.abs(x - 1) < 1e-6 else np.nan

    assert scalar(f, 0.0, 1.0, np.float32).verdict != "agrees"


def test_arguments_are_not_written_and_may_be_read_only_and_in_any_order_in_memory() -> None:
    """The function may write to its arrays, because each call gets arrays of its own."""
    rng = np.random.default_rng(0)
    w = np.asfortranarray(rng.random((3, 4)))
    params, grads = {"w": w, "v": w[::2, ::-1]}, {"v": 2 * w[::2, ::-1], "w": 3 * w * w}
    before = w.copy()
    w.flags.writeable = False

    def f(p: Params) -> Any:
        value = np.sum(p["w"] ** 3) + np.sum(p["v"] ** 2)
        for array in p.values():
            array[...] = np.nan
        return value

    assert check_gradients(f, grads, params).count("agrees") == 20
    assert np.array_equal(w, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grads": {"v": np.zeros(2)}}, "grads must have the keys ['w'], got ['v']"),
        ({"grads": {"w": np.zeros(3)}}, "grads['w'] must have shape (2,), got (3,)"),
        ({"grads": {"w": np.zeros((2, 1))}}, "grads['w'] must have shape (2,), got (2, 1)"),
        ({"grads": {"w": np.zeros(2, int)}}, "grads['w'] must be float32 or float64, got int64"),
        ({"params": {"w": np.zeros(2, int)}}, "params['w'] must be float32 or float64, got int64"),
        ({"params": {"w": np.array([0, np.nan])}}, "params['w'] must be finite"),
        ({"params": {}}, "params must hold at least one number"),
        ({"params": {"w": np.zeros(0)}}, "params must hold at least one number"),
        ({"f": lambda p: p["w"]}, "f must return a real scalar for real parameters, got float64"),
        ({"f": lambda _: 1j}, "f must return a real scalar for real parameters, got complex128"),
        ({"f": lambda _: np.nan}, "f(params) must be finite, got nan"),
        ({"f": lambda _: RANDOM.random()}, "f must be deterministic"),
        ({"method": "complex-step", "f": lambda _: 1.0}, "f must return a complex scalar"),
        ({"method": "forward"}, 'method must be "central" or "complex-step"'),
        ({"coordinates": 0}, "coordinates must be an integer >= 1, got 0"),
        ({"directions": -1}, "directions must be an integer >= 0, got -1"),
        ({"seed": 0.5}, "seed must be an integer >= 0, got 0.5"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    """A bad argument raises one message that names the value and what was expected."""
    arguments: dict[str, Any] = {
        "f": lambda p: np.sum(p["w"] ** 2),
        "grads": {"w": np.zeros(2)},
        "params": {"w": np.zeros(2)},
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        check_gradients(**(arguments | change))


def test_importing_the_checker_does_not_import_hypothesis() -> None:
    """The checker works in tests of any kind, without Hypothesis."""
    code = "import sys, purenet.testing.gradients; sys.exit('hypothesis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rounding_inside_f_is_noise_although_f_answers_in_float64() -> None:
    """A float32 loss plus a float64 penalty: the right gradient nowhere disagrees."""
    w = np.linspace(0.5, 1.5, 8)

    def f(p: Params) -> Any:
        data = np.float32(10 + np.sum(np.sin(p["w"])))
        return float(data) + 0.05 * np.sum(p["w"] ** 2)

    report = check_gradients(f, {"w": np.cos(w) + 0.1 * w}, {"w": w})
    assert not report.count("disagrees"), str(report)


@pytest.mark.parametrize("rate", [1e6, 1e8, 1e10])
def test_an_agreement_that_any_claim_would_reach_is_insensitive(rate: float) -> None:
    """A gradient of zeros of a function that turns faster than the step is no agreement."""
    x = RANDOM.normal(size=12)
    report = check_gradients(lambda p: np.sum(np.sin(rate * p["x"])), {"x": 0 * x}, {"x": x})
    assert not report.ok
    assert not report.count("agrees")


@pytest.mark.parametrize("offset", [1e12, 1e16])
def test_a_gradient_of_zeros_beside_a_large_constant_is_no_agreement(offset: float) -> None:
    """Where the constant hides the slope of the function, the check says that it sees nothing."""
    x = np.array([0.3, -0.7])
    report = check_gradients(lambda p: offset + np.sum(np.sin(p["x"])), {"x": 0 * x}, {"x": x})
    assert not report.ok
    assert "nothing has been checked" in str(report) or report.count("disagrees")


@pytest.mark.parametrize("size", [1e150, 1e200, 1e300])
def test_functions_near_overflow_are_judged(size: float) -> None:
    """A right gradient agrees and zeros disagree, although squares of f overflow."""
    x = np.array([0.3, -0.7])
    for factor, ok in ((1.0, True), (0.0, False), (1.001, False)):
        grads = {"x": factor * size * np.cos(x)}
        report = check_gradients(lambda p: size * np.sum(np.sin(p["x"])), grads, {"x": x})
        assert report.ok is ok, str(report)


@pytest.mark.parametrize("period", [4, 7])
def test_a_function_that_is_off_at_some_calls_is_refused(period: int) -> None:
    """Adding 0.1 at every fourth or seventh call is noticed."""
    calls = iter(range(10**6))

    def f(p: Params) -> Any:
        return np.sum(p["x"] ** 2) + 0.1 * (next(calls) % period == period - 1)

    with pytest.raises(ValueError, match="f must be deterministic, got"):
        check_gradients(f, {"x": np.array([2.0])}, {"x": np.array([1.0])})


def test_a_function_that_changes_later_is_refused_at_the_end() -> None:
    """The values at θ are compared once more after the last difference."""
    calls = iter(range(10**6))

    def f(p: Params) -> Any:
        return np.sum(p["x"] ** 2) + (next(calls) > 200)

    x = np.ones(60)
    with pytest.raises(ValueError, match="f must be deterministic, got"):
        check_gradients(f, {"x": 2 * x}, {"x": x})


def test_the_complex_step_refuses_what_is_not_analytic() -> None:
    """Σ sin w + Σ|w|²: the complex step does not see the squares."""
    w = np.array([0.5, -1.5])
    with pytest.raises(ValueError, match="f must be analytic for the complex step"):
        check_gradients(
            lambda p: np.sum(np.sin(p["w"])) + np.sum(np.abs(p["w"]) ** 2),
            {"w": np.cos(w)},
            {"w": w},
            method="complex-step",
        )


def test_units_at_their_kink_for_every_example_are_no_mistake_in_float32() -> None:
    """Where kinks nearly cancel in such a unit, no right gradient disagrees."""
    for seed in (23, 26, 48, 60, 71, 74):
        rng = np.random.default_rng(seed)
        params = init([3, 5, 3], seed=seed)
        params["W1"][:, 0] = 0
        x = rng.normal(size=(6, 3)).astype(np.float32)
        y = rng.integers(0, 3, 6)

        def f(p: Params, x: Any = x, y: Any = y) -> Any:
            return loss({name: a.astype(np.float32) for name, a in p.items()}, x, y, l2=0.01)

        _, grads = backward(params, x, y, l2=0.01)
        report = check_gradients(f, grads, params, seed=seed)
        assert not report.count("disagrees"), str(report)
        wrong = grads | {"b2": grads["b2"] + np.float32(0.05)}
        assert check_gradients(f, wrong, params, seed=seed).count("disagrees")
