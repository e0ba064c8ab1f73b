"""What lies between the products: NumPy's way and Numba's are one."""

import sys
from typing import Any

import numpy as np
import pytest

from purenet import engines
from purenet.engines import fused, numpy, plain


def interpreted(kernel: Any) -> Any:
    """Return what Numba compiled, to be run by Python; a mutant has nothing of the kind."""
    return getattr(kernel, "py_func", kernel)


class Interpreted:
    """The functions that Numba compiles, run by Python itself."""

    bias_relu = staticmethod(interpreted(fused.bias_relu))
    mask = staticmethod(interpreted(fused.mask))
    softmax_minus_labels = staticmethod(interpreted(fused.softmax_minus_labels))

    @staticmethod
    def update(state: Any, _: Any, *rates: Any) -> Any:
        """Update rows."""
        return interpreted(fused.update_rows)(*state, *rates)


@pytest.fixture(params=[plain, fused, Interpreted], ids=["plain", "fused", "interpreted"])
def kernels(request: pytest.FixtureRequest) -> Any:
    """Return each implementation in turn."""
    return request.param


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request: pytest.FixtureRequest) -> Any:
    """Return each dtype in turn."""
    return request.param


def normal(*shape: int, seed: int = 0, dtype: Any) -> Any:
    """Draw normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_bias_relu_keeps_what_is_positive_and_nan(kernels: Any, dtype: Any) -> None:
    """The result is max(z + b, 0), and NaN stays NaN."""
    z = np.array([[1, -1, 0, np.nan, np.inf, -np.inf]], dtype)
    kernels.bias_relu(z, np.array([1, 0, 0, 0, 0, 0], dtype))
    np.testing.assert_array_equal(z, [[2, 0, 0, np.nan, np.inf, 0]])


def test_mask_takes_what_is_not_positive(kernels: Any, dtype: Any) -> None:
    """δ stays where a > 0, and is 0 elsewhere."""
    delta = np.array([[3, 3, 3]], dtype)
    kernels.mask(delta, np.array([[1, 0, 1e-30]], dtype))
    np.testing.assert_array_equal(delta, [[3, 0, 3]])


def test_softmax_minus_labels_is_the_equation(kernels: Any, dtype: Any) -> None:
    """Logits become factor (softmax(z) - t), and the sum of -log p[y] is returned."""
    z, y = 3 * normal(7, 5, dtype=dtype), np.array([0, 1, 2, 3, 4, 0, 1])
    p = np.exp(z.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    expected_loss = -np.log(p[np.arange(7), y]).sum()
    loss = kernels.softmax_minus_labels(z, y, dtype(0.25))
    eps = 64 * np.finfo(dtype).eps  # exp and log within 4 ulp, sums of 5 and 7 terms up to 10
    assert abs(loss - expected_loss) < eps * expected_loss
    np.testing.assert_allclose(z, 0.25 * (p - np.eye(5)[y]), rtol=0, atol=eps)


def test_softmax_minus_labels_takes_large_logits(kernels: Any, dtype: Any) -> None:
    """±10⁴ does not overflow, whatever the other rows are."""
    z = np.array([[1e4, -1e4], [-1e4, 1e4], [-1e4, -2e4]], dtype)
    assert kernels.softmax_minus_labels(z, np.array([0, 0, 0]), dtype(1)) == 2e4
    np.testing.assert_array_equal(z, [[0, 0], [-1, 1], [0, 0]])


def test_update_is_the_equation(kernels: Any, dtype: Any) -> None:
    """v ← β v + g + decay p, p ← p - η v, and the squares of p are summed."""
    state = normal(3, 1000, dtype=dtype)
    v, g, p = state.astype(np.float64)
    new_v = 0.9 * v + g + 0.01 * p
    new_p = p - 0.4 * new_v
    squares = kernels.update(state, np.empty(1000, dtype), dtype(0.9), dtype(0.01), dtype(0.4))
    eps = 32 * np.finfo(dtype).eps  # a few roundings of numbers up to 5
    np.testing.assert_allclose(state[0], new_v, rtol=0, atol=eps)
    np.testing.assert_allclose(state[2], new_p, rtol=0, atol=eps)
    # a sum of 1,000 squares loses at most 1,000 eps of itself
    np.testing.assert_allclose(squares, (new_p**2).sum(), rtol=1000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("one", [plain, fused])
def test_squares_are_those_that_an_update_gives(one: Any, dtype: Any) -> None:
    """A resumed run counts the same penalty, in every bit, as the run that was interrupted."""
    state = normal(3, 100_013, dtype=dtype)[:, 3:-7]
    squares = one.update(state, np.empty(100_003, dtype), dtype(0.9), dtype(0.01), dtype(0.4))
    assert one.squares(state[2]) == squares


def test_numba_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra decides, not an option."""
    assert numpy._kernels(np.dtype(np.float32)) is fused
    assert numpy._kernels(np.dtype(np.float16)) is plain
    monkeypatch.delattr(engines, "fused")
    monkeypatch.setitem(sys.modules, "purenet.engines.fused", None)
    assert numpy._kernels(np.dtype(np.float32)) is plain
