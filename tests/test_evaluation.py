"""Claims about predictions and figures: predict, predict_proba, accuracy, evaluate."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from purenet import accuracy, evaluate, forward, init, loss, predict, predict_proba
from purenet.engines import CHUNK
from purenet.evaluation import logits
from tests.support.libraries import LIBRARIES, to_numpy
from tests.support.problems import problem, read_only

FUNCTIONS: list[Callable[..., Any]] = [logits, predict_proba, predict, accuracy, evaluate]


def call(function: Callable[..., Any], params: Any, x: Any, y: Any, **options: Any) -> Any:
    """Call one of the functions with the data that it takes."""
    if function is evaluate:
        return function(params, (x, y), **options)
    return (
        function(params, x, y, **options)
        if function is accuracy
        else function(params, x, **options)
    )


def test_predictions_and_probabilities_agree() -> None:
    """Probabilities sum to 1, `predict` takes the largest, and `accuracy` counts the hits."""
    params, x, _ = problem(6, 5, 4, 3, n=50)
    p = predict_proba(params, x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=8 * np.finfo(float).eps)
    y = predict(params, x)
    np.testing.assert_array_equal(y, p.argmax(axis=1))
    y[:10] = (y[:10] + 1) % 3
    assert accuracy(params, x, y) == 0.8


def test_each_row_of_probabilities_has_a_maximum_of_its_own() -> None:
    """A row of small logits keeps its probabilities beside a row of large ones."""
    params = {"W1": np.array([[-1e4, -1e4]]), "b1": np.zeros(2)}
    p = predict_proba(params, np.array([[0.0], [1.0]]))
    np.testing.assert_array_equal(p, np.full((2, 2), 0.5))


@pytest.mark.parametrize("n", [1, CHUNK, CHUNK + 1, 3000])
def test_evaluate_returns_loss_and_accuracy_of_all_examples(n: int) -> None:
    """The figures that are computed chunk by chunk are those of the pure functions on all data."""
    params, x, y = problem(6, 5, 3, n=n)
    got = evaluate(params, (x, y), l2=0.1)
    assert got.accuracy == (forward(params, x).argmax(axis=1) == y).mean()
    # The loss is a mean of n numbers of order 1.
    assert abs(got.loss - loss(params, x, y, l2=0.1)) < n * np.finfo(float).eps
    assert [type(figure) for figure in got] == [float, float]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_integers_are_converted_and_then_scaled(
    library: str, function: Callable[..., Any], dtype: Any
) -> None:
    """Integer x with an input_scale gives the bits of the scaled floating-point x."""
    params, x, y = problem(6, 5, 3, n=CHUNK + 1, dtype=dtype)
    pixels = np.abs(x * 100).astype(np.uint8)
    asarray = LIBRARIES[library]
    in_library = {name: asarray(p) for name, p in params.items()}
    labels, scale = asarray(y), 1 / 255
    got = call(function, in_library, asarray(pixels), labels, input_scale=scale)
    scaled = asarray(pixels.astype(dtype) * scale)
    expected = call(function, in_library, scaled, labels)
    np.testing.assert_array_equal(to_numpy(got), to_numpy(expected), strict=True)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_floating_point_examples_are_not_scaled(function: Callable[..., Any]) -> None:
    """An input_scale changes no result on floating-point x."""
    params, x, y = problem(6, 5, 3)
    got = call(function, params, x, y, input_scale=0.01)
    np.testing.assert_array_equal(got, call(function, params, x, y))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_integers_without_a_scale_are_refused(function: Callable[..., Any], dtype: Any) -> None:
    """Raw pixels are not taken for scaled ones: the error names `input_scale`."""
    params, x, y = problem(6, 5, 3)
    message = (
        f"x holds integers ({np.dtype(dtype)}): give input_scale, their factor in training "
        "(1/255 for 8-bit pixels by default)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(function, params, np.abs(x * 100).astype(dtype), y)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("scale", [-1, np.nan, np.inf, "1/255", True])
def test_a_scale_is_a_finite_number(function: Callable[..., Any], scale: Any) -> None:
    """An input_scale that is not a finite number >= 0 is refused with its value."""
    params, x, y = problem(6, 5, 3)
    message = f"input_scale must be a finite number >= 0, got {scale!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(function, params, np.abs(x * 100).astype(np.uint8), y, input_scale=scale)


def test_integers_that_overflow_in_the_dtype_of_the_parameters_are_refused() -> None:
    """Float16 does not hold 70,000: it is refused, unless the scale makes it smaller."""
    params, x, _ = problem(4, 3, 2, dtype=np.float16)
    large = np.full(x.shape, 70_000)
    predict(params, large, input_scale=1e-3)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="finite in float16"):
        predict(params, large, input_scale=1.0)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_agree_in_every_array_library(library: str, function: Callable[..., Any]) -> None:
    """Arrays of any library give arrays of that library, with the numbers of NumPy."""
    params, x, y = problem(6, 5, 4, 3, n=CHUNK + 1)
    asarray = LIBRARIES[library]
    in_library = {name: asarray(p) for name, p in params.items()}
    expected = call(function, params, x, y)
    got = call(function, in_library, asarray(x), asarray(y))
    if function is not evaluate and library != "numpy":
        assert isinstance(got, type(in_library["W1"]))
    # Logits are of order 1; a mean sums 1,025 of them.
    np.testing.assert_allclose(to_numpy(got), expected, rtol=0, atol=1e-12)


def test_functions_take_read_only_arrays() -> None:
    """No function writes to its arguments."""
    params, x, y = read_only(problem(6, 5, 4, 3))
    for function in FUNCTIONS:
        call(function, params, x, y)


P, X, Y = read_only(problem(4, 3, 2))
BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: accuracy(P, X, Y + 1), "y must hold labels from 0 to 1, got 2"),
    (lambda: accuracy(P, X, Y[:3]), "y must have shape (7,), one label per row of x, got (3,)"),
    (lambda: evaluate(P, (X, Y + 5)), "y must hold labels from 0 to 1, got 5"),
    (lambda: evaluate(P, X), "data must be a pair (x, y), got ndarray"),  # type: ignore[arg-type]
    (lambda: evaluate(P, (X, Y), l2=-1), "l2 must be a finite number >= 0, got -1"),
    (lambda: predict(P, X[:, 1:]), "x must have shape (batch, 4), got (7, 3)"),
    (lambda: predict(P, X[:0]), "x must hold at least one example, got shape (0, 4)"),
    (lambda: predict(P, X > 0), "x must hold real numbers, got dtype bool"),
    (
        lambda: predict_proba(P, X * np.nan),
        "x must be finite in float64, got NaN or infinity in row 0",
    ),
    (lambda: predict({}, X), "params must have the keys W1, b1, ..., WL, bL, got []"),
]


@pytest.mark.parametrize(("evaluation", "message"), BAD_CALLS, ids=[text for _, text in BAD_CALLS])
def test_bad_arguments_are_named(evaluation: Callable[[], Any], message: str) -> None:
    """A bad argument raises ValueError, which names the value and what was expected."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluation()


def test_the_row_of_a_bad_number_is_that_of_all_data() -> None:
    """NaN in a later chunk is given its row in x."""
    x = np.ones((CHUNK + 50, 4))
    x[CHUNK + 7, 2] = np.nan
    with pytest.raises(ValueError, match=f"in row {CHUNK + 7}$"):
        predict(P, x)


def test_an_error_that_is_not_about_x_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the examples are right, an error of `forward` reaches the caller."""

    def forward(*_: Any) -> Any:
        raise ValueError("of another kind")

    monkeypatch.setattr("purenet.evaluation.forward", forward)
    with pytest.raises(ValueError, match="of another kind"):
        predict(init([2, 3]), np.ones((1, 2)))
