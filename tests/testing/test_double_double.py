"""Twice the precision of float64, against 60 digits."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from purenet.testing.operations import double_double as dd
from purenet.testing.operations.double_double import Double

MP = mpmath.MPContext()
MP.dps = 60


def exact(a: Double) -> Any:
    """Return the numbers as mpmath numbers."""
    return [
        MP.mpf(float(h)) + MP.mpf(float(x)) for h, x in zip(a.high.flat, a.low.flat, strict=True)
    ]


def drawn(rng: np.random.Generator, scale: float = 1.0) -> Double:
    """Draw numbers of twice the precision."""
    high = scale * rng.normal(size=40)
    return dd.add(dd.exactly(high), dd.exactly(1e-17 * rng.normal(size=40) * high))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (dd.add, lambda a, b: a + b),
        (dd.multiply, lambda a, b: a * b),
    ],
)
def test_sums_and_products_have_104_bits(
    ours: Callable[..., Double], theirs: Callable[..., Any]
) -> None:
    """A sum is off by 2⁻¹⁰² of its terms at most, a product by 2⁻¹⁰² of itself."""
    rng = np.random.default_rng(0)
    a, b = drawn(rng), drawn(rng, 1e3)
    for got, x, y in zip(exact(ours(a, b)), exact(a), exact(b), strict=True):
        right = theirs(x, y)
        assert abs(got - right) <= 2.0**-102 * max(abs(right), abs(x), abs(y))


def test_exponentials_have_28_digits() -> None:
    """The exponential is right to 1e-28 from -600 to 600, and 0 far below."""
    rng = np.random.default_rng(0)
    a = dd.exactly(np.concatenate([rng.uniform(-600, 600, 40), rng.uniform(-1, 1, 40), [0.0]]))
    for got, x in zip(exact(dd.exp(a)), exact(a), strict=True):
        assert abs(got / MP.exp(x) - 1) < 1e-28
    assert dd.exp(dd.exactly(np.array([-1e9]))).high == 0


def test_logarithms_have_28_digits() -> None:
    """The logarithm is right to 1e-28 of its size, or of 1e-3 if that is larger."""
    a = dd.exactly(1 + np.random.default_rng(0).exponential(50, 40))
    for got, x in zip(exact(dd.log(a)), exact(a), strict=True):
        assert abs(got - MP.log(x)) < 1e-28 * max(abs(MP.log(x)), 1e-3)
    assert dd.log(dd.exactly(np.ones(1))).high == 0


def test_products_of_matrices_and_sums_lose_nothing_to_cancellation() -> None:
    """Sums whose terms cancel to 1e-14 of their size are right to 1e-15 all the same."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 60)), rng.normal(size=(60, 3))
    a[:, 30:], b[30:] = a[:, :30], -b[:30] * (1 + 1e-14)
    rows = [[MP.mpf(float(v)) for v in row] for row in a]
    got = np.array(exact(dd.matmul(a, b))).reshape(5, 3)
    for i, j in np.ndindex(5, 3):
        right = sum(rows[i][k] * MP.mpf(float(b[k, j])) for k in range(60))
        assert abs(got[i, j] - right) < 1e-15 * abs(right)
    terms = dd.exactly((a[0] * 1e16).reshape(3, 20))
    for got_sum, row in zip(exact(dd.total(terms)), terms.high, strict=True):
        assert abs(got_sum - sum(map(MP.mpf, row.tolist()))) <= 1e-28 * np.abs(row).sum()


def test_division_by_a_whole_number_has_104_bits() -> None:
    """A seventh of a number is right to 2⁻¹⁰¹."""
    a = drawn(np.random.default_rng(0))
    for got, x in zip(exact(dd.divide(a, 7)), exact(a), strict=True):
        assert abs(got - x / 7) <= 2.0**-101 * abs(x)
