"""Arithmetic in twice the precision of float64: a number is the sum of two float64 numbers.

T. Dekker, "A floating-point technique for extending the available precision", 1971; T. Ogita,
S. Rump, S. Oishi, "Accurate sum and dot product", 2005.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Double",
    "add",
    "divide",
    "exactly",
    "exp",
    "log",
    "matmul",
    "multiply",
    "negative",
    "total",
]

Vector: TypeAlias = NDArray[np.float64]

SPLITTER = 2.0**27 + 1  # cuts the 53 bits of a float64 into two halves


class Double(NamedTuple):
    """Hold an array as the unevaluated sum of two: high + low, |low| at most half an ulp of high.

    Parameters
    ----------
    high, low : numpy.ndarray
        Arrays of one shape, in float64.
    """

    high: Vector
    low: Vector


LOG_2 = Double(np.array(6.931471805599453e-01), np.array(2.3190468138462996e-17))

# (log 2 / 512)ⁿ / n! is below 1e-34 for n = 10.
TAYLOR_TERMS = 10


def exactly(value: Any) -> Double:
    """Return float64 numbers without an error.

    Parameters
    ----------
    value : array
        float64 numbers.

    Returns
    -------
    Double
        The result.
    """
    high = np.asarray(value, np.float64)
    return Double(high, np.zeros_like(high))


def add(a: Double, b: Double) -> Double:
    """Return a + b, with a relative error of about 2⁻¹⁰⁴ of |a| + |b|.

    Parameters
    ----------
    a, b : Double
        Terms.

    Returns
    -------
    Double
        The result.
    """
    total, error = _two_sum(a.high, b.high)
    return _normalised(total, error + (a.low + b.low))


def multiply(a: Double, b: Double) -> Double:
    """Return a b, with a relative error of about 2⁻¹⁰⁴.

    Parameters
    ----------
    a, b : Double
        Factors.

    Returns
    -------
    Double
        The result.
    """
    product, error = _two_product(a.high, b.high)
    return _normalised(product, error + (a.high * b.low + a.low * b.high))


def matmul(a: Vector, b: Vector) -> Double:
    """Return the matrix product of float64 numbers, as if computed in twice the precision.

    Parameters
    ----------
    a, b : numpy.ndarray
        Matrices of float64 numbers.

    Returns
    -------
    Double
        The result.
    """
    high, low = (np.zeros((a.shape[0], b.shape[1])) for _ in range(2))
    for k in range(a.shape[1]):
        product, rounding = _two_product(a[:, k, None], b[k])
        high, error = _two_sum(high, product)
        low += error + rounding
    return _normalised(high, low)


def _two_sum(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """Return fl(a + b) and its exact error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """Return fl(a b) and its exact error, if nothing overflows or underflows."""
    product = a * b
    (a_1, a_2), (b_1, b_2) = _halves(a), _halves(b)
    return product, ((a_1 * b_1 - product) + a_1 * b_2 + a_2 * b_1) + a_2 * b_2


def _halves(a: Vector) -> tuple[Vector, Vector]:
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


def _normalised(high: Vector, low: Vector) -> Double:
    total = high + low
    return Double(total, low - (total - high))


def total(a: Double) -> Double:
    """Return the sum over the last axis.

    Parameters
    ----------
    a : Double
        Terms.

    Returns
    -------
    Double
        The result.
    """
    result = exactly(np.zeros(a.high.shape[:-1]))
    for k in range(a.high.shape[-1]):
        result = add(result, Double(a.high[..., k], a.low[..., k]))
    return result


def negative(a: Double) -> Double:
    """Return -a.

    Parameters
    ----------
    a : Double
        Numbers.

    Returns
    -------
    Double
        The result.
    """
    return Double(-a.high, -a.low)


def exp(a: Double) -> Double:
    """Return exp(a) for a below 700, with a relative error below 1e-28.

    With k = round(a / log 2), exp(a) = 2ᵏ exp(r/256)²⁵⁶. Squaring keeps s = exp(...) - 1, which
    loses no digits: (1 + s)² - 1 = 2s + s².

    Parameters
    ----------
    a : Double
        Exponents below 700.

    Returns
    -------
    Double
        The result.
    """
    k = np.rint(a.high / LOG_2.high)
    r = add(a, multiply(exactly(-k), LOG_2))
    r = Double(r.high / 256, r.low / 256)
    s = exactly(np.zeros_like(a.high))
    for n in range(TAYLOR_TERMS, 0, -1):  # Horner: s = r/n (1 + r/(n+1) (1 + ...))
        s = multiply(multiply(r, add(exactly(1.0), s)), _inverse(n))
    for _ in range(8):
        s = add(Double(2 * s.high, 2 * s.low), multiply(s, s))
    one_more = add(exactly(1.0), s)
    power = np.where(np.isfinite(k), k, 0).astype(np.int64)
    return Double(np.ldexp(one_more.high, power), np.ldexp(one_more.low, power))


def log(a: Double) -> Double:
    """Return log(a) for a >= 1, by a step of Newton's method from the float64 logarithm.

    Parameters
    ----------
    a : Double
        Numbers from 1 on.

    Returns
    -------
    Double
        The result.
    """
    start = exactly(np.log(a.high))
    d = add(multiply(a, exp(negative(start))), exactly(-1.0))
    return add(start, add(d, Double(-0.5 * d.high * d.high, 0 * d.low)))


def divide(a: Double, n: int) -> Double:
    """Return a / n.

    Parameters
    ----------
    a : Double
        Numbers.
    n : int
        A whole number.

    Returns
    -------
    Double
        The result.
    """
    return multiply(a, _inverse(n))


def _inverse(n: int) -> Double:
    """Return 1 / n for a whole number."""
    high = np.array(1.0 / n)
    product, error = _two_product(high, np.array(float(n)))
    return Double(high, np.asarray(((1.0 - product) - error) / n))
