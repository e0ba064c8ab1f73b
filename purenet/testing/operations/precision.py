r"""The precision of an operation, and what rounding may do to its results.

**Model.** Arguments are given in the format `storage`. Products round their factors to `operands`
if that is narrower. Products and sums are rounded to `accumulate`, and results to `output`. A fused
operation keeps intermediate arrays in `accumulate`; one that is not fused stores each of them.

**Roundings.** fl(x ∘ y) = (x ∘ y)(1 + δ) + η with \|δ\| ≤ u, and \|η\| at most the least normal
number where hardware may flush subnormals, else half the least subnormal. n roundings in any order
change a sum by at most γ_n = nu / (1 - nu) of the sum of the magnitudes of its terms (Higham).
Where the rounding errors of a sum are independent and have mean 0, the change is, but for a small
probability, at most exp(λ√n u + nu² / (1 - u)) - 1 of that sum (Higham and Mary).

References
----------
Nicholas Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, 2002, section 3.1.

Nicholas Higham, Theo Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019,
theorem 2.4.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "Arithmetic", "Bound", "Format", "Precision"]

Bound: TypeAlias = Literal["worst-case", "probabilistic"]
Vector: TypeAlias = NDArray[np.float64]

# A worst-case bound grows like nu. Where nu is above this, it is of the size of the result.
LARGEST_NU = 1 / 8

# With λ = √(2 ln(2nN / p)), N sums of n terms break the probabilistic bound with probability p at
# most: p = 1e-6 for N = 512² sums of 512 terms needs 8.2.
LAMBDA = 9.0
FAILURE_PROBABILITY = 1e-6


class Format(NamedTuple):
    """Describe a binary floating-point format.

    Parameters
    ----------
    name : str
        Its name in array libraries.
    u : float
        The unit roundoff: half the distance from 1 to the next number.
    tiny : float
        The least normal number.
    subnormal : float
        The least positive number.
    largest : float
        The largest finite number.
    """

    name: str
    u: float
    tiny: float
    subnormal: float
    largest: float

    @property
    def overflow(self) -> float:
        """Return the least number that rounds to infinity."""
        return self.largest * ((1 - self.u / 2) / (1 - self.u))

    @property
    def underflow(self) -> float:
        """Bound what underflow may do to a result. Only float16 is never flushed to zero."""
        return self.subnormal / 2 if self.name == "float16" else self.tiny


def _format(name: str, digits: int, least: int, exponent: int) -> Format:
    """Return the format with so many binary digits and normal exponents from least to exponent."""
    largest = math.ldexp(2 - 2.0 ** (1 - digits), exponent)
    return Format(name, 2.0**-digits, 2.0**least, 2.0 ** (least - digits + 1), largest)


FORMATS = {
    f.name: f
    for f in (
        _format("float64", 53, -1022, 1023),
        _format("float32", 24, -126, 127),
        _format("tf32", 11, -126, 127),
        _format("float16", 11, -14, 15),
        _format("bfloat16", 8, -126, 127),
    )
}
"""The formats, by name. Products on matrix units may round float32 factors to tf32."""

STORED = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Precision:
    """Say in which formats an operation stores and computes.

    Parameters
    ----------
    storage : {"float64", "float32", "float16", "bfloat16"}
        The format of the arguments.
    operands : str, optional
        The format to which products round their factors: ``"tf32"``, or a format that is stored.
        Default: that of the arguments.
    accumulate : str, optional
        The format of products and sums. Default: float32 for float16 and bfloat16, as matrix units
        have it, and else the format of the arguments.
    output : str, optional
        The format of the results. Default: that of the arguments.
    fused : bool
        Whether intermediate arrays stay in the format of sums. If not, each is rounded to
        `storage`: give False for a chain of array operations in float16 or bfloat16.

    Raises
    ------
    ValueError
        An unknown format, or factors that are wider than the arguments.

    Examples
    --------
    >>> Precision("bfloat16")
    Precision('bfloat16', operands='bfloat16', accumulate='float32', output='bfloat16')
    """

    storage: str
    operands: str = field(default="", kw_only=True)
    accumulate: str = field(default="", kw_only=True)
    output: str = field(default="", kw_only=True)
    fused: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _check_format("storage", self.storage, STORED)
        sums = self.storage if self.storage in ("float64", "float32") else "float32"
        defaults = {"operands": self.storage, "accumulate": sums, "output": self.storage}
        for name, default in defaults.items():
            object.__setattr__(self, name, getattr(self, name) or default)
            allowed = tuple(FORMATS) if name == "operands" else STORED
            _check_format(name, getattr(self, name), allowed)
        if FORMATS[self.operands].u < FORMATS[self.storage].u:
            raise ValueError(
                f"operands must not be wider than storage ({self.storage}), got {self.operands!r}"
            )

    def __repr__(self) -> str:
        parts = [f"{n}={getattr(self, n)!r}" for n in ("operands", "accumulate", "output")]
        parts += [] if self.fused else ["fused=False"]
        return f"Precision({self.storage!r}, {', '.join(parts)})"


def _check_format(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class Arithmetic:
    """Bound what rounding does to sums, to stored intermediate arrays, and to results.

    Parameters
    ----------
    precision : Precision
        The formats.
    bound : {"worst-case", "probabilistic"}
        Which bound of sums.
    """

    precision: Precision
    bound: Bound = "worst-case"

    @property
    def u(self) -> float:
        """Return the roundoff of sums. Matrix units that take tf32 truncate their sums."""
        # The bounds are evaluated in float64 and leave out terms of order u².
        return 1.001 * self._sums.u * (2 if self.precision.operands == "tf32" else 1)

    @property
    def stored(self) -> float:
        """Return the roundoff of an intermediate array: 0 if it is not stored."""
        return 0.0 if self.precision.fused else 1.001 * FORMATS[self.precision.storage].u

    @property
    def functions(self) -> float:
        """Return the relative error of an exponential or a logarithm: 4 ulp, and its storing."""
        return 8 * self.u + self.stored

    @property
    def underflow(self) -> float:
        """Bound what underflow may do to a product, a sum or an intermediate array."""
        stored = 0.0 if self.precision.fused else FORMATS[self.precision.storage].underflow
        return max(self._sums.underflow, stored)

    @property
    def _sums(self) -> Format:
        return FORMATS[self.precision.accumulate]

    def gamma(self, n: int) -> float:
        """Bound the relative error of a sum after n roundings."""
        u = self.u
        if self.bound == "probabilistic" and n > LAMBDA**2:
            return math.expm1(LAMBDA * math.sqrt(n) * u + n * u * u / (1 - u))
        return n * u / (1 - n * u) if n * u < 1 else math.inf

    def check_terms(self, n: int) -> None:
        """Refuse sums of so many terms that a worst-case bound says next to nothing."""
        if self.bound == "worst-case" and n * self.u > LARGEST_NU:
            raise ValueError(
                f"a sum of {n} terms in {self._sums.name} has no useful worst-case bound, as "
                f"n u = {n * self.u:.2g}: give bound='probabilistic', which may fail with "
                f"probability {FAILURE_PROBABILITY:g}, a wider accumulator than "
                f"accumulate={self._sums.name!r}, or a smaller max_size"
            )

    def overflows(self, size: float) -> bool:
        """Tell whether an intermediate number of this size may be stored as infinity."""
        stored = self.precision.accumulate if self.precision.fused else self.precision.storage
        return size >= FORMATS[stored].overflow

    def product(self, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        """Bound the error of a matrix product before its result is rounded to the output.

        Returns
        -------
        error, size : numpy.ndarray
            The bound, and |a| |b|.
        """
        factors, sums = FORMATS[self.precision.operands], FORMATS[self.precision.accumulate]
        rounded = factors.u > FORMATS[self.precision.storage].u
        # A truncated factor may be off by twice the roundoff.
        factor = 1 + (2 * factors.u if rounded else 0.0)
        terms, size = a.shape[-1], np.abs(a) @ np.abs(b)
        # The product of two narrow factors is exact in a wide accumulator.
        roundings = terms - 1 + (factors.u**2 < sums.u)
        relative = factor**2 * (1 + self.gamma(roundings + 1)) - 1
        return relative * size + (2 * terms + 1) * self.underflow, size

    def result(self, value: Vector, error: Vector) -> Vector:
        """Add the rounding of a result to the output format."""
        output = FORMATS[self.precision.output]
        if output.u <= self._sums.u and self.precision.fused:
            return error
        return error + 1.001 * output.u * (np.abs(value) + error) + output.underflow
