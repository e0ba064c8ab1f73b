"""What a step is made of: NumPy's way, and that of BLAS and Numba, are one."""

import sys
from typing import Any

import numpy as np
import pytest

from purenet import engines
from purenet.engines import fused, numpy, plain

COMPILED = ("bias_relu", "mask", "normalise", "scaled", "shift")


@pytest.fixture(params=["plain", "fused", "interpreted"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return each implementation in turn; the last has what Numba compiles run by Python."""
    if request.param == "interpreted":
        for name in COMPILED:
            kernel = getattr(fused, name)  # a mutant is not compiled
            monkeypatch.setattr(fused, name, getattr(kernel, "py_func", kernel))
    return plain if request.param == "plain" else fused


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request: pytest.FixtureRequest) -> Any:
    """Return each dtype in turn."""
    return request.param


def normal(*shape: int, seed: int = 0, dtype: Any) -> Any:
    """Draw normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_scaled_converts_integers(kernels: Any, dtype: Any) -> None:
    """8-bit pixels become the pixel times the scale, rounded once."""
    raw, out = np.array([[0, 1], [128, 255]], np.uint8), np.empty((2, 2), dtype)
    kernels.scaled(raw, dtype(0.1), out)
    np.testing.assert_array_equal(out, [[0, dtype(0.1)], [128 * dtype(0.1), 255 * dtype(0.1)]])


@pytest.mark.parametrize("transposed", ["neither", "left", "right"])
def test_product_is_that_of_matrices(kernels: Any, dtype: Any, transposed: str) -> None:
    """Rows or columns may lie together, in all rows of a buffer or in the first."""
    a, b = normal(7, 3, dtype=dtype), normal(3, 5, seed=1, dtype=dtype)
    if transposed == "left":
        a = np.ascontiguousarray(a.T).T
    if transposed == "right":
        b = np.ascontiguousarray(b.T).T
    out = np.full((9, 5), np.nan, dtype)
    kernels.product(a, b, out[:7])
    eps = 3 * 8 * np.finfo(dtype).eps  # three terms of up to 8
    np.testing.assert_allclose(out[:7], a.astype(float) @ b.astype(float), rtol=0, atol=eps)
    assert np.isnan(out[7:]).all()


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_accumulate_adds_a_gradient(kernels: Any, dtype: Any, beta: float) -> None:
    """The sum becomes beta times itself, plus aᵀ δ."""
    a, delta, total = (
        normal(*s, seed=i, dtype=dtype) for i, s in enumerate([(4, 3), (4, 5), (3, 5)])
    )
    expected = beta * total.astype(float) + a.T.astype(float) @ delta.astype(float)
    kernels.accumulate(a, delta, total, beta, np.empty(99, dtype))
    np.testing.assert_allclose(total, expected, rtol=0, atol=5 * 8 * np.finfo(dtype).eps)


def test_blas_multiplies_the_velocity_by_beta(dtype: Any) -> None:
    """One product takes v ← β v + aᵀ δ."""
    a, delta, v = np.ones((1, 2), dtype), np.ones((1, 3), dtype), np.full((2, 3), 4, dtype)
    fused.accumulate(a, delta, v, 0.5, None)
    np.testing.assert_array_equal(v, np.full((2, 3), 3))


def test_bias_relu_keeps_what_is_positive_and_nan(kernels: Any, dtype: Any) -> None:
    """The result is max(z + b, 0), and NaN stays NaN."""
    z = np.array([[1, -1, 0, np.nan, np.inf, -np.inf]], dtype)
    kernels.bias_relu(z, np.array([1, 0, 0, 0, 0, 0], dtype))
    np.testing.assert_array_equal(z, [[2, 0, 0, np.nan, np.inf, 0]])


def test_mask_takes_what_is_not_positive(kernels: Any, dtype: Any) -> None:
    """δ stays where a > 0, and is 0 elsewhere; its rows are added to beta times a total."""
    delta = np.array([[3, 3, 3], [1, 2, 4]], dtype)
    total = np.array([8, 8, 8], dtype)
    kernels.mask(delta, np.array([[1, 0, 1e-30], [0, 1, 1]], dtype), total, 0.5)
    np.testing.assert_array_equal(delta, [[3, 0, 3], [0, 2, 4]])
    np.testing.assert_array_equal(total, [4 + 3, 4 + 2, 4 + 7])


def test_softmax_minus_labels_is_the_equation(kernels: Any, dtype: Any) -> None:
    """Logits become factor (softmax(z + b) - t), and the sum of -log p[y] is returned."""
    z, b, total = 3 * normal(7, 5, dtype=dtype), normal(5, seed=1, dtype=dtype), np.ones(5, dtype)
    y = np.array([0, 1, 2, 3, 4, 0, 1])
    p = np.exp(z.astype(np.float64) + b)
    p /= p.sum(axis=1, keepdims=True)
    expected_loss = -np.log(p[np.arange(7), y]).sum()
    loss = kernels.softmax_minus_labels(z, b, y, dtype(0.25), total, 0.5)
    eps = 64 * np.finfo(dtype).eps  # exp and log within 4 ulp, sums of 5 and 7 terms up to 10
    assert abs(loss - expected_loss) < eps * expected_loss
    delta = 0.25 * (p - np.eye(5)[y])
    np.testing.assert_allclose(z, delta, rtol=0, atol=eps)
    np.testing.assert_allclose(total, 0.5 + delta.sum(axis=0), rtol=0, atol=7 * eps)


def test_softmax_minus_labels_takes_large_logits(kernels: Any, dtype: Any) -> None:
    """±10⁴ does not overflow, whatever the other rows are."""
    z, b = np.array([[1e4, -1e4], [-1e4, 1e4], [-1e4, -2e4]], dtype), np.zeros(2, dtype)
    labels = np.array([0, 0, 0])
    assert kernels.softmax_minus_labels(z, b, labels, dtype(1), b.copy(), 0.0) == 2e4
    np.testing.assert_array_equal(z, [[0, 0], [-1, 1], [0, 0]])


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_update_is_the_equation(kernels: Any, dtype: Any, decay: float) -> None:
    """v ← β v + g + decay p, p ← p - η v, and the squares of p are summed."""
    state = dict(zip(kernels.ROWS, normal(len(kernels.ROWS), 1000, dtype=dtype), strict=True))
    v, p = state["velocity"].astype(float), state["params"].astype(float)
    new_v = 0.9 * v + state["sums"] if "sums" in state else v  # else the sums are in v already
    new_v = new_v + decay * p
    new_p = p - 0.4 * new_v
    matrix = np.array(list(state.values()))
    squares = kernels.update(matrix, 0.9, decay, 0.4)
    state = dict(zip(kernels.ROWS, matrix, strict=True))
    eps = 32 * np.finfo(dtype).eps  # a few roundings of numbers up to 5
    np.testing.assert_allclose(state["velocity"], new_v, rtol=0, atol=eps)
    np.testing.assert_allclose(state["params"], new_p, rtol=0, atol=eps)
    # a sum of 1,000 squares loses at most 1,000 eps of itself
    np.testing.assert_allclose(squares, (new_p**2).sum(), rtol=1000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("one", [plain, fused])
def test_squares_are_those_that_an_update_gives(one: Any, dtype: Any) -> None:
    """A resumed run counts the same penalty, in every bit, as the run that was interrupted."""
    state = normal(len(one.ROWS), 100_013, dtype=dtype)[:, 3:-7]
    squares = one.update(state, 0.9, 0.01, 0.4)
    assert one.squares(state[one.ROWS.index("params")].copy()) == squares


def test_scipy_and_numba_are_used_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra decides, not an option."""
    assert numpy._kernels(np.dtype(np.float32)) is fused
    assert numpy._kernels(np.dtype(np.float16)) is plain
    monkeypatch.delattr(engines, "fused")
    monkeypatch.setitem(sys.modules, "purenet.engines.fused", None)
    assert numpy._kernels(np.dtype(np.float32)) is plain


def test_functions_are_compiled_where_nothing_can_be_cached() -> None:
    """A function without a file has no place for a cache."""
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", names)
    assert fused.compiled(names["twice"])(2) == 4


def test_losses_of_float16_are_summed_in_float32() -> None:
    """1,024 losses of 100 are more than float16 holds."""
    z, labels = np.zeros((1024, 2), np.float16), np.zeros(1024, int)
    z[:, 1] = 100
    total = np.zeros(2, np.float16)
    assert plain.softmax_minus_labels(z, total.copy(), labels, np.float16(0), total, 0.0) == 102_400
