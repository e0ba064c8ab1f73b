"""Claims about the mathematics: init, forward, loss and backward."""

import re
from collections.abc import Callable
from typing import Any

import array_api_strict
import jax
import numpy as np
import pytest

from purenet import backward, forward, init, loss
from purenet.network import log_softmax
from purenet.params import check_examples
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only

SIZES = [(3, 2), (6, 5, 4, 3), (4, 1, 1), (2, 3, 3, 3, 3, 2)]
AGREEMENT = 1e-12  # promised in float64 (eps = 2e-16) for gradients of order 1


@pytest.mark.parametrize("sizes", SIZES)
def test_backward_agrees_with_jax_grad(sizes: tuple[int, ...]) -> None:
    """`backward` returns the gradient that JAX derives from `loss`."""
    params, x, y = problem(*sizes)
    in_jax = {name: jax.numpy.asarray(p) for name, p in params.items()}
    x_jax, y_jax = jax.numpy.asarray(x), jax.numpy.asarray(y)
    derived = jax.jit(jax.grad(lambda p: loss(p, x_jax, y_jax, l2=0.1)))(in_jax)
    _, grads = backward(params, x, y, l2=0.1)
    for name, g in grads.items():
        np.testing.assert_allclose(g, derived[name], rtol=0, atol=AGREEMENT)


@pytest.mark.parametrize("sizes", SIZES)
def test_backward_agrees_with_a_complex_step(sizes: tuple[int, ...]) -> None:
    """`backward` returns Im J(θ + ih)/h, which has no truncation error at h = 1e-200."""
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
    """`backward` returns the bits of `loss`, in the dtype of the parameters."""
    params, x, y = problem(*sizes, dtype=dtype)
    value = backward(params, x, y, l2=0.1)[0]
    assert value == loss(params, x, y, l2=0.1)
    assert value.dtype == dtype


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("function", [forward, loss])
def test_forward_and_loss_agree_in_every_array_library(
    library: str, function: Callable[..., Any]
) -> None:
    """Arrays of any library give arrays of that library, with the numbers of NumPy."""
    params, *data = problem(6, 5, 4, 3)
    if function is forward:
        data = data[:1]
    expected = function(params, *data)
    asarray = LIBRARIES[library]
    got = function({name: asarray(p) for name, p in params.items()}, *map(asarray, data))
    assert type(got) is type(asarray(expected)) or library == "numpy"
    np.testing.assert_allclose(to_numpy(got), expected, rtol=0, atol=AGREEMENT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", LIBRARIES)
def test_backward_agrees_in_every_array_library(library: str, dtype: Any) -> None:
    """Gradients have the numbers of NumPy, and the order and the dtype of the parameters."""
    params, x, y = problem(6, 5, 4, 3, dtype=dtype)
    asarray = LIBRARIES[library]
    in_library = {name: asarray(p) for name, p in params.items()}
    _, grads = backward(in_library, asarray(x), asarray(y), l2=0.1)
    expected = backward(params, x, y, l2=0.1)[1]
    assert list(grads) == list(params)
    for name, g in grads.items():
        assert g.dtype == in_library[name].dtype
        # No sum has more than 8 terms, each of order 1.
        np.testing.assert_allclose(to_numpy(g), expected[name], atol=64 * np.finfo(dtype).eps)


def test_backward_runs_inside_jit() -> None:
    """Inside `jax.jit`, `backward` gives the same result, and shapes are still checked."""
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
    """`forward` gives the logits of a network that was computed by hand."""
    params = {
        "W1": np.array([[1.0, -1.0]]),
        "b1": np.array([0.0, 1.0]),
        "W2": np.array([[2.0], [3.0]]),
        "b2": np.array([0.5]),
    }
    np.testing.assert_array_equal(forward(params, np.array([[2.0], [-1.0]])), [[4.5], [6.5]])


def test_loss_is_the_equation() -> None:
    """`loss` is the mean of -log p plus ½ l2 times the squared weights, without biases."""
    params = {"W1": np.array([[3.0, -1.0]]), "b1": np.array([5.0, 5.0])}
    p_first = 1 / (1 + np.exp(-4.0))
    expected = -(np.log(p_first) + np.log(1 - p_first)) / 2 + 0.5 * 0.1 * (9 + 1)
    got = loss(params, np.array([[1.0], [1.0]]), np.array([0, 1]), l2=0.1)
    assert abs(got - expected) < AGREEMENT


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_stay_finite_and_right(dtype: Any) -> None:
    """Where exp would overflow, loss and gradient have their limits."""
    params = {"W1": np.array([[1e4, -1e4]], dtype), "b1": np.zeros(2, dtype)}
    x, y = np.ones((2, 1), dtype), np.array([0, 1])
    value, grads = backward(params, x, y)
    assert value == 1e4
    np.testing.assert_array_equal(grads["b1"], np.array([0.5, -0.5], dtype))


def test_log_softmax_subtracts_the_maximum_of_each_row() -> None:
    """A row of small logits keeps its probabilities beside a row of large ones."""
    np.testing.assert_array_equal(
        log_softmax(np.array([[0.0, 0.0], [-1e4, -1e4]])), np.full((2, 2), -np.log(2))
    )


def test_float16_losses_are_means_not_overflowed_sums() -> None:
    """The mean of 65,000 losses is right in float16, which cannot hold their sum."""
    params = {name: np.zeros_like(p) for name, p in init([1, 3], dtype=np.float16).items()}
    n = 65_000
    value = loss(params, np.zeros((n, 1), np.float16), np.zeros(n, int))
    assert value == np.log(3).astype(np.float16)


def test_relu_derivative_at_zero_is_zero() -> None:
    """A unit whose input is exactly 0 passes no gradient, in `backward` and in JAX."""
    params = {name: np.zeros_like(p) for name, p in problem(2, 3, 2).params.items()}
    params["W2"] += np.array([1.0, -1.0])
    x, y = np.ones((1, 2)), np.array([0])
    derived = jax.grad(lambda p: loss(p, jax.numpy.asarray(x), jax.numpy.asarray(y)))(
        {name: jax.numpy.asarray(p) for name, p in params.items()}
    )
    assert not backward(params, x, y)[1]["W1"].any()
    assert not np.asarray(derived["W1"]).any()


def test_parameters_that_are_nan_give_a_loss_that_is_nan() -> None:
    """NaN in a weight reaches the loss and the gradient; ReLU does not hide it."""
    params, x, y = problem(3, 4, 2)
    params["W1"][0, 0] = np.nan
    value, grads = backward(params, x, y)
    assert np.isnan(value)
    assert np.isnan(grads["W1"]).any()


def test_functions_take_read_only_arrays() -> None:
    """No function writes to its arguments."""
    params, x, y = read_only(problem(6, 5, 4, 3))
    forward(params, x)
    loss(params, x, y)
    backward(params, x, y)


def test_order_of_keys_does_not_matter() -> None:
    """Layers are found by name, and gradients keep the order of the dictionary, which JAX sorts."""
    params, x, y = problem(6, 5, 4, 3)
    by_name = dict(sorted(params.items()))
    value, grads = backward(by_name, x, y)
    assert value == loss(params, x, y)
    assert list(grads) == list(by_name)


def test_results_have_the_dtype_of_the_parameters() -> None:
    """Float64 data and a float64 penalty leave the results of a float32 network in float32."""
    params, x, y = problem(3, 4, 2, dtype=np.float32)
    value, grads = backward(params, x.astype(np.float64), y, l2=np.float64(0.1))
    assert value.dtype == np.float32
    assert {g.dtype for g in grads.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_integer_examples_are_refused(library: str, dtype: str) -> None:
    """Integers need a factor, which the mathematics does not know: the error says what to do."""
    params, x, y = problem(3, 4, 2)
    asarray = LIBRARIES[library]
    params = {name: asarray(p) for name, p in params.items()}
    integers, labels = asarray(np.abs(x * 50).astype(dtype)), asarray(y)
    message = (
        f"x must hold floating-point numbers, got {integers.dtype}: convert and scale integers, "
        "as in x / 255 for 8-bit pixels"
    )
    calls: list[Callable[[], Any]] = [
        lambda: forward(params, integers),
        lambda: loss(params, integers, labels),
        lambda: backward(params, integers, labels),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call()


def test_init_draws_he_and_given_scales() -> None:
    """Weights have the standard deviation √(2 / fan_in) or the given one; biases are 0."""
    for scale, expected in (("he", (2 / 400) ** 0.5), (0.01, 0.01)):
        params = init([400, 300], scale=scale, dtype=np.float64)
        # Four times the relative error 1/√240,000 of the standard deviation of 120,000 draws.
        assert abs(params["W1"].std() / expected - 1) < 4 / 240_000**0.5
        assert not params["b1"].any()


def test_init_depends_on_the_seed_alone() -> None:
    """Float32 weights are the rounded float64 ones of the same seed; other seeds differ."""
    wide, narrow = (init([5, 4, 3], seed=1, dtype=dtype) for dtype in (np.float64, np.float32))
    for name, p in wide.items():
        np.testing.assert_array_equal(p.astype(np.float32), narrow[name])
    assert (init([5, 4, 3], seed=2)["W1"] != narrow["W1"]).all()
    np.testing.assert_array_equal(init([5, 4, 3])["W1"], init([5, 4, 3], seed=0)["W1"])


def test_examples_in_the_dtype_of_the_parameters_are_not_copied() -> None:
    """The check of a batch returns the memory that it was given."""
    params, x, _ = read_only(problem(4, 3, 2))
    assert np.shares_memory(check_examples(params, x), x)


def test_examples_that_overflow_in_the_dtype_of_the_parameters_are_refused() -> None:
    """A number that float16 turns to infinity is refused by a float16 network."""
    params, x, _ = problem(4, 3, 2, dtype=np.float16)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="finite in float16"):
        forward(params, np.full(x.shape, 7e4))


def test_init_draws_weights_row_by_row_from_pcg64() -> None:
    """The stream PCG64(seed) fills the weights layer by layer, each in C order."""
    draws = np.random.Generator(np.random.PCG64(7)).standard_normal(3 * 2 + 2 * 4)
    params = init([3, 2, 4], seed=7, scale=0.5, dtype=np.float64)
    np.testing.assert_array_equal(params["W1"].ravel(), 0.5 * draws[:6])
    np.testing.assert_array_equal(params["W2"].ravel(), 0.5 * draws[6:])


def without(params: dict[str, Any], name: str) -> dict[str, Any]:
    """Return all parameters but one."""
    return {key: p for key, p in params.items() if key != name}


P, X, Y = read_only(problem(4, 3, 2))
BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: loss(P, X, np.where(Y == 0, -1, Y)), "y must hold labels from 0 to 1, got -1"),
    (lambda: loss(P, X, Y + 1), "y must hold labels from 0 to 1, got 2"),
    (lambda: loss(P, X, Y.astype(float)), "y must hold integer labels, got dtype float64"),
    (
        lambda: loss(P, X, np.where(Y, "cat", "dog")),
        "y must hold integer labels, got dtype <U3: number the classes, as ",
    ),
    (
        lambda: loss(P, X, np.eye(2)[Y]),
        "y must have shape (7,), one label per row of x, got (7, 2): take the argmax",
    ),
    (lambda: loss(P, X, Y[:, None]), "y must have shape (7,), one label per row of x, got (7, 1)"),
    (lambda: loss(P, X, Y[:3]), "y must have shape (7,), one label per row of x, got (3,)"),
    (lambda: loss(P, X[:0], Y[:0]), "x must hold at least one example, got shape (0, 4)"),
    (lambda: forward(P, X[:, :3]), "x must have shape (batch, 4), got (7, 3)"),
    (lambda: forward(P, X[0]), "x must have shape (batch, 4), got (4,)"),
    (lambda: forward(P, X * np.nan), "x must be finite in float64, got NaN or infinity in row 0"),
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
        "x must be an array, got a list: convert it, for example with np.asarray",
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
    (lambda: init([3, 2], seed=2**128), f"seed must be below 2**128, got {2**128}"),
    (lambda: init([3, 2], scale="xavier"), 'scale, if not "he", must be a finite number >= 0'),
    (
        lambda: init([3, 2], scale=np.inf),
        'scale, if not "he", must be a finite number >= 0, got inf',
    ),
    (lambda: init([3, 2], dtype=int), "dtype must be a real floating-point type, got int64"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_arguments_are_named(call: Callable[[], Any], message: str) -> None:
    """A bad argument raises ValueError, which names the value and what was expected."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)
