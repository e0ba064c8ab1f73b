"""The oracles agree with closed forms, with their own differences, and with the definitions."""

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import DTypeLike

from purenet.params import Params
from purenet.testing import oracles
from tests.support.problems import problem, read_only

DIGITS = 1e-56  # the error of numbers of order 1 after some thousand roundings to 60 digits
RATES: dict[str, Any] = {
    "learning_rate": 0.3,
    "momentum": 0.9,
    "l2": 0.01,
    "batch_size": 2,
    "epochs": 2,
    "shuffle": True,
    "seed": 5,
    "input_scale": 0.5,
}


def furthest(one: Params, other: Params) -> float:
    """Return the largest difference between two dictionaries of numbers."""
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def off(value: oracles.Real, exact: Fraction) -> float:
    """Return the distance of a number of 60 digits from a fraction."""
    return float(abs(value * exact.denominator - exact.numerator) / exact.denominator)


@pytest.mark.parametrize("z", [0.0, 0.1, -3.0, 700.0, 1e4, -1e4, 1e9, -1e9, 5e-324])
def test_logistic_regression_is_exact_to_50_digits(z: float) -> None:
    """With logits (0, z), J = log(1 + e^z) and dJ/dz = 1 / (1 + e^-z) have 50 right digits."""
    params = {"W1": np.array([[0, z]]), "b1": np.zeros(2)}
    value, grads = oracles.backward(params, np.ones((1, 1)), np.array([0]))
    mp = mpmath.MPContext()
    mp.dps = 120
    slope = 1 / (1 + mp.exp(-z))
    assert abs(value / mp.log1p(mp.exp(z)) - 1) < 1e-50
    for name in params:
        first, second = grads[name].ravel()
        assert abs(first / slope + 1) < 1e-50
        assert abs(second / slope - 1) < 1e-50


def test_logits_are_exact() -> None:
    """A small number survives two layers in which larger numbers cancel."""
    params = {
        "W1": np.array([[1e200, -1e200], [2.0**-1000, 0.0]]),
        "b1": np.array([-1e200, 1e200]),
        "W2": np.array([[2.0**1000], [1.0]]),
        "b2": np.array([0.25]),
    }
    assert oracles.forward(params, np.ones((1, 2)))[0, 0] == 1.25


def test_gradient_is_the_derivative_of_the_loss() -> None:
    """The gradient agrees with central differences of step 1e-20 to the square of that step."""
    params, x, y = problem(3, 4, 3, 2, n=3)
    _, grads = oracles.backward(params, x, y, l2=0.1)
    for name, p in params.items():
        exact = np.vectorize(Fraction, otypes=[object])(p)
        for index in np.ndindex(p.shape):
            above, below = exact.copy(), exact.copy()
            above[index] += Fraction(1, 10**20)
            below[index] -= Fraction(1, 10**20)
            rise = oracles.loss(params | {name: above}, x, y, l2=0.1)
            rise -= oracles.loss(params | {name: below}, x, y, l2=0.1)
            assert abs(rise * 10**20 / 2 - grads[name][index]) < 1e-36


def test_derivative_of_relu_at_zero_is_zero() -> None:
    """A unit whose input is exactly 0 passes no gradient back."""
    params = {"W1": np.zeros((1, 1)), "b1": np.zeros(1), "W2": np.array([[1.0, 2.0]])}
    _, grads = oracles.backward(params | {"b2": np.zeros(2)}, np.ones((1, 1)), np.array([0]))
    assert grads["W1"] == grads["b1"] == 0
    assert (grads["b2"] == [-0.5, 0.5]).all()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1], "y must hold labels from 0 to 1, got -1"),
        ([2], "y must hold labels from 0 to 1, got 2"),
        ([0, 1], "y must hold 1 labels, one per row of x, got 2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y: list[int], message: str) -> None:
    """Labels below 0, above the last class, or in another number than examples are refused."""
    params, x, _ = problem(3, 2, n=1)
    for function in (oracles.loss, oracles.backward):
        with pytest.raises(ValueError, match=message):
            function(params, x, np.array(y))


def test_examples_that_do_not_fit_are_refused() -> None:
    """An x whose features are not those of the first layer is refused."""
    params, x, _ = problem(3, 2)
    with pytest.raises(ValueError, match="x must have 3 features, got 2"):
        oracles.forward(params, x[:, :2])


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8])
def test_numbers_of_any_type_are_taken_exactly(dtype: DTypeLike) -> None:
    """Float32 and integers give every digit that the same numbers give in float64."""
    params, x, y = problem(3, 2, 2)
    x = (10 * np.abs(x)).astype(dtype)
    params = {name: (10 * p).astype(np.float32) for name, p in params.items()}
    exact = {name: p.astype(np.float64) for name, p in params.items()}
    given, converted = oracles.loss(params, x, y), oracles.loss(exact, x.astype(np.float64), y)
    assert given == converted


def test_results_can_be_given_back_in_every_digit() -> None:
    """Parameters of 60 digits are not rounded to floats, so three steps of 1e-40 add up."""
    params = {"b1": np.array([1.0])}
    grads = {"b1": np.array([1e-40])}
    for _ in range(3):
        params, _ = oracles.momentum_step(params, grads, grads, learning_rate=1, momentum=0)
    assert abs((1 - params["b1"][0]) / 1e-40 - 3) < 1e-15


def test_the_precision_of_mpmath_is_left_alone() -> None:
    """The oracle neither changes the global precision of mpmath nor depends on it."""
    params, x, y = problem(3, 2, 2)
    before = oracles.loss(params, x, y)
    with mpmath.workdps(5):
        assert oracles.loss(params, x, y) == before
        assert mpmath.mp.dps == 5


def test_inputs_are_not_written() -> None:
    """The oracles take read-only arrays, and their results share no memory with them."""
    params, x, y = read_only(problem(3, 2, 2))
    trained, velocity, _ = oracles.train(params, (x, y), **RATES)
    oracles.momentum_step(params, velocity, trained, learning_rate=0.1, momentum=0.5)
    assert not any(np.shares_memory(trained[name], params[name]) for name in params)


def test_velocity_is_the_moving_average_of_gradients() -> None:
    """After t steps on one gradient, v = (1 - β^t) g and p = p_0 - η Σ_s (1 - β^s) g."""
    g, eta, beta = 0.1, 0.3, 0.9
    params, velocity, grads = ({"b1": np.array([number])} for number in (0.7, 0.0, g))
    for _ in range(5):
        params, velocity = oracles.momentum_step(
            params, velocity, grads, learning_rate=eta, momentum=beta
        )
    averages = [1 - Fraction(beta) ** s for s in range(1, 6)]
    assert off(velocity["b1"][0], averages[-1] * Fraction(g)) < DIGITS
    moved = Fraction(eta) * sum(averages) * Fraction(g)
    assert off(params["b1"][0], Fraction(0.7) - moved) < DIGITS


def test_training_one_full_batch_is_one_step() -> None:
    """With batch_size None, an epoch is one `backward` and one `momentum_step` from rest."""
    params, x, y = problem(3, 2, 2)
    cfg = RATES | {"batch_size": None, "epochs": 1}
    trained, velocity, losses = oracles.train(params, (x, y), **cfg)
    value, grads = oracles.backward(params, x, y, l2=cfg["l2"])
    rest = {name: np.zeros_like(p) for name, p in params.items()}
    rates = {"learning_rate": cfg["learning_rate"], "momentum": cfg["momentum"]}
    stepped = oracles.momentum_step(params, rest, grads, **rates)
    assert abs(losses[0] - value) < DIGITS  # the sums are taken in another order
    assert furthest(trained, stepped[0]) < DIGITS
    assert furthest(velocity, stepped[1]) < DIGITS


def test_logged_loss_weights_batches_by_their_sizes() -> None:
    """With a learning rate of 0, batches of 3, 3 and 1 give the loss of all 7 examples."""
    params, x, y = problem(3, 2, 2, n=7)
    cfg = RATES | {"batch_size": 3, "learning_rate": 0.0}
    _, _, losses = oracles.train(params, (x, y), **cfg)
    exact = oracles.loss(params, x, y, l2=cfg["l2"])
    assert all(abs(value - exact) < DIGITS for value in losses)


def test_epochs_visit_examples_in_the_order_of_seed_and_epoch() -> None:
    """Two shuffled epochs are two runs of one epoch, each on data that were reordered before."""
    params, x, y = problem(3, 2, 2, n=5)
    cfg = RATES | {"momentum": 0.0}  # so that the second run needs no velocity
    shuffled, *_ = oracles.train(params, (x, y), **cfg)
    one = cfg | {"epochs": 1, "shuffle": False}
    for epoch in range(2):
        stream = np.random.SeedSequence(cfg["seed"]).spawn(2)[epoch]
        order = np.random.Generator(np.random.PCG64(stream)).permutation(5)
        params, *_ = oracles.train(params, (x[order], y[order]), **one)
    assert furthest(shuffled, params) < DIGITS


def test_velocity_goes_on_from_epoch_to_epoch() -> None:
    """On one example, the velocity after three epochs is the average over all three steps."""
    params, x, y = problem(3, 2, n=1)
    cfg = RATES | {"epochs": 3, "learning_rate": 0.0, "l2": 0.0}
    _, velocity, _ = oracles.train(params, (x, y), **cfg)
    _, grads = oracles.backward(params, x, y)
    average = 1 - Fraction(cfg["momentum"]) ** 3
    expected = {name: g * average.numerator / average.denominator for name, g in grads.items()}
    assert furthest(velocity, expected) < DIGITS


def test_only_integer_inputs_are_scaled() -> None:
    """With input_scale 1/2, integer pixels train like their halves in floating point."""
    params, _, y = problem(3, 2, 2, n=4)
    pixels = np.arange(12, dtype=np.uint8).reshape(4, 3)
    of_pixels, _, _ = oracles.train(params, (pixels, y), **RATES)
    of_floats, _, _ = oracles.train(params, (pixels / 2, y), **RATES)
    assert furthest(of_pixels, of_floats) == 0
