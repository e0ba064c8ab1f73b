"""The mathematics: init, forward, loss, backward and the predictions."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import jax
import numpy as np
import pytest

from purenet import accuracy, backward, forward, init, loss, predict, predict_proba
from purenet.params import check_examples
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only

SIZES = [(3, 2), (6, 5, 4, 3), (4, 1, 1), (2, 3, 3, 3, 3, 2)]
AGREEMENT = 1e-12  # promised for gradients of order 1 in float64, whose eps is 2e-16


@pytest.mark.parametrize("sizes", SIZES)
def test_backward_agrees_with_jax_grad(sizes: tuple[int, ...]) -> None:
    """The gradient by hand is the gradient that JAX derives from our loss."""
    params, x, y = problem(*sizes)
    in_jax = {name: jax.numpy.asarray(p) for name, p in params.items()}
    x_jax, y_jax = jax.numpy.asarray(x), jax.numpy.asarray(y)
    derived = jax.jit(jax.grad(lambda p: loss(p, x_jax, y_jax, l2=0.1)))(in_jax)
    _, grads = backward(params, x, y, l2=0.1)
    for name, g in grads.items():
        np.testing.assert_allclose(g, derived[name], rtol=0, atol=AGREEMENT)


@pytest.mark.parametrize("sizes", SIZES)
def test_backward_agrees_with_a_complex_step(sizes: tuple[int, ...]) -> None:
    """Im J(θ + ih)/h, which has no truncation error at h = 1e-200, is the gradient."""
    params, x, y = problem(*sizes)
    _, grads = backward(params, x, y, l2=0.1)
    for name, g in grads.items():
        stepped = np.empty_like(g)
        for index in np.ndindex(g.shape):
            shifted = {key: p.astype(complex) for key, p in params.items()}
            shifted[name][index] += 1e-200j
            stepped[index] = loss(shifted, x, y, l2=0.1).imag / 1e-200
        np.testing.assert_allclose(g, stepped, rtol=0, atol=AGREEMENT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", SIZES)
def test_backward_returns_the_loss_in_every_bit(sizes: tuple[int, ...], dtype: Any) -> None:
    """`backward` and `loss` compute one value, not two alike."""
    params, x, y = problem(*sizes, dtype=dtype)
    value = backward(params, x, y, l2=0.1)[0]
    assert value == loss(params, x, y, l2=0.1)
    assert value.dtype == dtype


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("function", [forward, predict_proba, predict, accuracy, loss])
def test_functions_agree_in_every_array_library(library: str, function: Callable[..., Any]) -> None:
    """The same lines on other arrays give their arrays, with the same numbers."""
    params, *data = problem(6, 5, 4, 3)
    if function in (forward, predict_proba, predict):
        data = data[:1]
    expected = function(params, *data)
    asarray = LIBRARIES[library]
    got = function({name: asarray(p) for name, p in params.items()}, *map(asarray, data))
    assert type(got) is type(asarray(expected)) or library == "numpy"
    np.testing.assert_allclose(to_numpy(got), expected, rtol=0, atol=AGREEMENT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_backward_agrees_in_every_array_library(library: str, dtype: Any) -> None:
    """Gradients in other libraries are the same, in the parameters' order and dtype."""
    params, x, y = problem(6, 5, 4, 3, dtype=dtype)
    asarray = LIBRARIES[library]
    in_library = {name: asarray(p) for name, p in params.items()}
    _, grads = backward(in_library, asarray(x), asarray(y), l2=0.1)
    expected = backward(params, x, y, l2=0.1)[1]
    assert list(grads) == list(params)
    for name, g in grads.items():
        assert g.dtype == in_library[name].dtype
        # no sum is longer than 8 terms, each of order 1
        np.testing.assert_allclose(to_numpy(g), expected[name], atol=64 * np.finfo(dtype).eps)


def test_backward_runs_inside_jit() -> None:
    """Under `jax.jit`, where no value is known, shapes are checked and the result is the same."""
    params, x, y = problem(6, 5, 4, 3)
    jitted = jax.jit(lambda p, x, y: backward(p, x, y, l2=0.1))
    value, grads = jitted(params, x, y)
    expected_value, expected = backward(params, x, y, l2=0.1)
    assert abs(value - expected_value) < AGREEMENT
    for name, g in expected.items():
        np.testing.assert_allclose(grads[name], g, rtol=0, atol=AGREEMENT)
    with pytest.raises(ValueError, match=r"y must have shape \(7,\)"):
        jitted(params, x, y[:3])


def test_forward_is_the_equation() -> None:
    """On a network worked out on paper, logits are what the paper says."""
    params = {
        "W1": np.array([[1.0, -1.0]]),
        "b1": np.array([0.0, 1.0]),
        "W2": np.array([[2.0], [3.0]]),
        "b2": np.array([0.5]),
    }
    np.testing.assert_array_equal(forward(params, np.array([[2.0], [-1.0]])), [[4.5], [6.5]])


def test_loss_is_the_equation() -> None:
    """Loss is the mean of -log p plus half l2 times the squared weights, biases left out."""
    params = {"W1": np.array([[3.0, -1.0]]), "b1": np.array([5.0, 5.0])}
    p_first = 1 / (1 + np.exp(-4.0))
    expected = -(np.log(p_first) + np.log(1 - p_first)) / 2 + 0.5 * 0.1 * (9 + 1)
    got = loss(params, np.array([[1.0], [1.0]]), np.array([0, 1]), l2=0.1)
    assert abs(got - expected) < AGREEMENT


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_stay_finite_and_right(dtype: Any) -> None:
    """Where exp would overflow, loss and gradient are those of the limit."""
    params = {"W1": np.array([[1e4, -1e4]], dtype), "b1": np.zeros(2, dtype)}
    x, y = np.ones((2, 1), dtype), np.array([0, 1])
    value, grads = backward(params, x, y)
    assert value == 1e4
    np.testing.assert_array_equal(grads["b1"], np.array([0.5, -0.5], dtype))


def test_each_example_has_a_maximum_of_its_own() -> None:
    """A row of small logits is not lost beside a row of large ones."""
    params = {"W1": np.array([[-1e4, -1e4]]), "b1": np.zeros(2)}
    p = predict_proba(params, np.array([[0.0], [1.0]]))
    np.testing.assert_array_equal(p, np.full((2, 2), 0.5))


def test_float16_losses_are_means_not_overflowed_sums() -> None:
    """A mean whose sum float16 could not hold is right."""
    params = {name: np.zeros_like(p) for name, p in init([1, 3], dtype=np.float16).items()}
    n = 65_000
    value = loss(params, np.zeros((n, 1), np.float16), np.zeros(n, int))
    assert value == np.log(3).astype(np.float16)


def test_relu_derivative_at_zero_is_zero() -> None:
    """A unit whose input is exactly 0 passes no gradient, by hand and in JAX."""
    params = {name: np.zeros_like(p) for name, p in problem(2, 3, 2).params.items()}
    params["W2"] += np.array([1.0, -1.0])
    x, y = np.ones((1, 2)), np.array([0])
    derived = jax.grad(lambda p: loss(p, jax.numpy.asarray(x), jax.numpy.asarray(y)))(
        {name: jax.numpy.asarray(p) for name, p in params.items()}
    )
    assert not backward(params, x, y)[1]["W1"].any()
    assert not np.asarray(derived["W1"]).any()


def test_parameters_that_are_nan_give_a_loss_that_is_nan() -> None:
    """ReLU does not hide a network that has broken."""
    params, x, y = problem(3, 4, 2)
    params["W1"][0, 0] = np.nan
    value, grads = backward(params, x, y)
    assert np.isnan(value)
    assert np.isnan(grads["W1"]).any()


def test_predictions_fit_together() -> None:
    """Probabilities sum to one, `predict` takes the largest, `accuracy` counts the hits."""
    params, x, _ = problem(6, 5, 4, 3, n=50)
    p = predict_proba(params, x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=8 * np.finfo(float).eps)
    y = predict(params, x)
    np.testing.assert_array_equal(y, p.argmax(axis=1))
    y[:10] = (y[:10] + 1) % 3
    assert accuracy(params, x, y) == 0.8


def test_read_only_arrays_are_enough() -> None:
    """No function writes its arguments."""
    params, x, y = read_only(problem(6, 5, 4, 3))
    for of_inputs in (forward, predict_proba, predict):
        of_inputs(params, x)
    of_pairs: Callable[..., Any]
    for of_pairs in (loss, backward, accuracy):
        of_pairs(params, x, y)


def test_order_of_keys_does_not_matter() -> None:
    """JAX sorts the keys of dictionaries: layers go by name, and gradients keep the order."""
    params, x, y = problem(6, 5, 4, 3)
    by_name = dict(sorted(params.items()))
    value, grads = backward(by_name, x, y)
    assert value == loss(params, x, y)
    assert list(grads) == list(by_name)


def test_inputs_take_the_dtype_of_the_parameters() -> None:
    """Neither integer pixels, float64 data nor a float64 penalty widen a float32 network."""
    params, x, y = problem(3, 4, 2, dtype=np.float32)
    for data in (x.astype(np.float64), (x > 0).astype(np.uint8)):
        value, grads = backward(params, data, y, l2=np.float64(0.1))
        assert value.dtype == np.float32
        assert {g.dtype for g in grads.values()} == {np.dtype(np.float32)}


def test_init_draws_he_and_given_scales() -> None:
    """Weights have the standard deviation that was asked for; biases are 0."""
    for scale, expected in (("he", (2 / 400) ** 0.5), (0.01, 0.01)):
        params = init([400, 300], scale=scale, dtype=np.float64)
        # the standard deviation of 120,000 draws is known to 1/sqrt(240,000); four of those
        assert abs(params["W1"].std() / expected - 1) < 4 / 240_000**0.5
        assert not params["b1"].any()


def test_init_is_decided_by_seed() -> None:
    """A seed is one network, the same in float32 up to rounding; another seed is another."""
    wide, narrow = (init([5, 4, 3], seed=1, dtype=dtype) for dtype in (np.float64, np.float32))
    for name, p in wide.items():
        np.testing.assert_array_equal(p.astype(np.float32), narrow[name])
    assert (init([5, 4, 3], seed=2)["W1"] != narrow["W1"]).all()
    np.testing.assert_array_equal(init([5, 4, 3])["W1"], init([5, 4, 3], seed=0)["W1"])


def test_examples_in_the_dtype_of_the_parameters_are_read_where_they_lie() -> None:
    """A batch is not copied to be looked at."""
    params, x, _ = read_only(problem(4, 3, 2))
    assert np.shares_memory(check_examples(params, x), x)


def test_examples_that_overflow_in_the_dtype_of_the_parameters_are_refused() -> None:
    """Integers and floats that float16 turns to infinity are no data for a float16 network."""
    params, x, _ = problem(4, 3, 2, dtype=np.float16)
    for large in (np.full(x.shape, 70_000), np.full(x.shape, 7e4)):
        with np.errstate(over="ignore"), pytest.raises(ValueError, match="finite in float16"):
            forward(params, large)


def test_init_draws_weights_row_by_row_from_pcg64() -> None:
    """A seed is these numbers for ever: the first layer's weights first, in C order."""
    draws = np.random.Generator(np.random.PCG64(7)).standard_normal(3 * 2 + 2 * 4)
    params = init([3, 2, 4], seed=7, scale=0.5, dtype=np.float64)
    np.testing.assert_array_equal(params["W1"].ravel(), 0.5 * draws[:6])
    np.testing.assert_array_equal(params["W2"].ravel(), 0.5 * draws[6:])


def without(params: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the parameters less one."""
    return {key: p for key, p in params.items() if key != name}


P, X, Y = read_only(problem(4, 3, 2))
BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: loss(P, X, np.where(Y == 0, -1, Y)), "y must hold labels from 0 to 1, got -1"),
    (lambda: loss(P, X, Y + 1), "y must hold labels from 0 to 1, got 2"),
    (lambda: accuracy(P, X, Y + 1), "y must hold labels from 0 to 1, got 2"),
    (lambda: loss(P, X, Y.astype(float)), "y must hold integer labels, got dtype float64"),
    (lambda: loss(P, X, Y[:, None]), "y must have shape (7,), one label per row of x, got (7, 1)"),
    (lambda: loss(P, X, Y[:3]), "y must have shape (7,), one label per row of x, got (3,)"),
    (lambda: loss(P, X[:0], Y[:0]), "x must hold at least one example, got shape (0, 4)"),
    (lambda: forward(P, X[:, :3]), "x must have shape (batch, 4), got (7, 3)"),
    (lambda: forward(P, X[0]), "x must have shape (batch, 4), got (4,)"),
    (lambda: forward(P, X * np.nan), "x must be finite in float64, got NaN or infinity"),
    (lambda: forward(P, X + np.inf), "x must be finite in float64, got NaN or infinity"),
    (lambda: forward(P, X + 1j), "x must hold real numbers, got dtype complex128"),
    (lambda: backward(P, X, Y, l2=-0.1), "l2 must be a finite number >= 0, got -0.1"),
    (lambda: loss(P, X, Y, l2=np.nan), "l2 must be a finite number >= 0, got nan"),
    (lambda: loss(P, X, Y, l2="0"), "l2 must be a finite number >= 0, got '0'"),  # type: ignore[arg-type]
    (lambda: forward({}, X), "params must have the keys W1, b1, ..., WL, bL, got []"),
    (lambda: forward(without(P, "b2"), X), "..., WL, bL, got ['W1', 'b1', 'W2']"),
    (lambda: forward(P | {"W2": P["W2"].T}, X), "W2 must have shape (3, fan_out), got (2, 3)"),
    (lambda: forward(P | {"W1": P["W1"][0]}, X), "W1 must have shape (fan_in, fan_out), got (3,)"),
    (lambda: forward(P | {"b1": P["b2"]}, X), "b1 must have shape (3,), got (2,)"),
    (
        lambda: forward(P | {"b1": P["b1"].astype("f4")}, X),
        "b1 has dtype float32, expected float64",
    ),
    (
        lambda: forward({name: p.astype(int) for name, p in P.items()}, X),
        "params must be floating-point arrays, W1 has dtype int64",
    ),
    (
        lambda: loss(P, X.tolist(), Y),
        "arrays must all be of one array library: params is a numpy ndarray, x is a builtins list",
    ),
    (
        lambda: loss(P, X, array_api_strict.asarray(Y.copy())),
        "params is a numpy ndarray, y is a array_api_strict Array",
    ),
    (lambda: loss(P, X, Y, l2=10**400), "l2 must be a finite number >= 0, got 1000"),
    (lambda: init([3]), "sizes must name at least inputs and classes, got [3]"),
    (lambda: init([3, 0]), "sizes[1] must be an integer >= 1, got 0"),
    (lambda: init([3, 2.5]), "sizes[1] must be an integer >= 1, got 2.5"),  # type: ignore[list-item]
    (lambda: init([3, True]), "sizes[1] must be an integer >= 1, got True"),
    (lambda: init([3, 2], seed=-1), "seed must be an integer >= 0, got -1"),
    (lambda: init([3, 2], scale="xavier"), 'scale, if not "he", must be a finite number >= 0'),
    (
        lambda: init([3, 2], scale=np.inf),
        'scale, if not "he", must be a finite number >= 0, got inf',
    ),
    (lambda: init([3, 2], dtype=int), "dtype must be a real floating-point type, got int64"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    """Each bad argument is a ValueError that names its value and what was expected."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)
