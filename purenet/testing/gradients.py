r"""Check a gradient against differences of its function, and say so where a kink leaves no answer.

`check_gradients` takes any scalar function f of a dictionary of arrays. It looks at f along lines,
φ(t) = f(θ + t v), where v is one coordinate or a random direction, and gives each derivative φ′(0)
one of three verdicts: the claimed number *agrees*; it *disagrees*; or the check is *inconclusive*,
because φ has a kink (a jump of φ′, as ReLU has) too near to 0 to be told from one at 0.

**Differences.** What is known of φ is f, a number within η of it. Rounding the result costs
eps\|f\|; what the arithmetic inside f costs is measured, by what a polynomial leaves of f at points
so near to each other that f is one but for its rounding [1]_ (so what moves f at a scale of about
1e-7 max(1, \|θ\|) counts as noise). With a step h, and D± the slopes from 0 to ±h,

    C(h) = (φ(h) - φ(-h)) / 2h = φ′(0) + φ‴ h²/6 + O(h⁴), to within η/h,
    G(h) = D+ - D- = φ″ h + O(h³), to within 4η/h.

The errors of C balance at h = ∛ε max(1, \|θ\|), ε = η/\|f\| [2]_. The check begins there, with h
rounded so that θ + h and θ - h are floating-point numbers. Nothing is assumed of φ″ and φ‴; what
they and kinks do to C is measured by comparing h with 4h:

- the truncation is at most \|C(h) - C(4h)\|, which is 15 times the truncation if φ is smooth;
- the jump is what G tends to as h → 0, J = \|G(h) - G(4h)/4\| / (1 - 1/4). If φ is smooth it is
  O(h³). With a kink at 0 it is the jump of φ′, whatever h is, and C is wrong by J/2.

With one kink, at any distance, the sum of truncation and J/2 bounds the error of C(h). The
tolerance is E = 5η/h + truncation + J/2, where 5η/h bounds what rounding does to all three. Where
truncation + J/2 is more than 20 times 5η/h, h is divided by 4: on a smooth φ this divides the
truncation by 16, the jump by 64, and so E by more than 2, whereas a kink at 0 leaves E as it is.
Hence, at a step where E has fallen and truncation + J/2 is not that large, the derivative

- *agrees* if the claim is within E of C;
- *disagrees* if it is not, and 25 values from -4h to 4h lie on a polynomial of degree 5 to within
  2η. If they do not, several kinks hide behind each other, and h is refined once more;
- is *inconclusive* if no such step is left before rounding hides what there is to tell.

So a wrong derivative of a smooth function is not excused as a kink, and a kink does not make a
right derivative look wrong. Where kinks nearer to each other than can be told cancel, f looks as if
it had another derivative, which a convention like ReLU′(0) = 0 need not give: the verdict is f's.

**The rounding of the claim.** Float32 parameters are raised to float64 where f then answers in
float64, so that differences add nothing to the rounding of the float32 claim. Where f refuses
float64, or answers in float32, it is differenced in its own precision, with η as measured. The
rounding of a claimed derivative is taken as

    64 ε (max\|g\| + √(2\|f φ″\|) + \|f\| / max(1, \|θ\|)) + 64 tiny,

with ε the relative error of f in the precision of the claim (measured, at least eps), max\|g\| over
the same array, and tiny the smallest normal number. What is rounded are the terms whose sum g is;
their sizes sum to at most √(2 f φ″) in a sum of squares (Cauchy-Schwarz, φ″ of Gauss-Newton), and
about so in a cross-entropy. A claim outside this is granted four times the change of the slope when
all parameters move by their own rounding [3]_, for ill-conditioned problems, and for kinks nearer
than rounding can tell. No bound made of values of f covers float32 derivatives that have lost all
their digits (where probabilities round to 1 before large weights): check these in float64.

**The complex step.** If f takes complex parameters and is analytic in them, φ′(0) = Im φ(ih)/h
subtracts nothing, so h is 1e-200 and the tolerance is the rounding of the claim [4]_. Kinks are
seen if h and -h give different slopes, as they do where NumPy compares complex numbers.

**What can be seen.** Where θ, f and the derivative are of one size, the smallest relative error
that disagrees is a few 1e-9 in float64, 1e-13 by the complex step, a few 1e-5 in a float32 gradient
of an f that answers in float64, and 1e-3 if f is float32 itself. Each check reports its tolerance.

References
----------
.. [1] J. Moré, S. Wild, "Estimating Computational Noise", 2011, section 3.
.. [2] W. Press et al., "Numerical Recipes", 3rd edition, 2007, section 5.7.
.. [3] N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, 2002, section 1.6.
.. [4] W. Squire, G. Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions",
   1998.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from purenet.params import check_integer
from purenet.testing._differences import Differences, Function, Line, Verdict

__all__ = ["EXHAUSTIVE", "Check", "GradientReport", "Method", "Verdict", "check_gradients"]

Method: TypeAlias = Literal["central", "complex-step"]

EXHAUSTIVE = 1000
"""Every coordinate is checked where there are at most so many."""


@dataclass(frozen=True)
class Check:
    """One derivative: what was claimed, what was measured, and the verdict.

    Parameters
    ----------
    name : str
        The array of the coordinate, or ``"direction 0"`` and so on.
    index : tuple of int, optional
        The coordinate in its array; None for a direction.
    verdict : {"agrees", "disagrees", "inconclusive"}
        The answer.
    claimed, numeric : float
        The derivative by the gradient, and by differences of the function.
    tolerance : float
        The error up to which the two agree. If inconclusive, it and `numeric` are those of the step
        that came nearest to an answer.
    """

    name: str
    index: tuple[int, ...] | None
    verdict: Verdict
    claimed: float
    numeric: float
    tolerance: float

    @property
    def where(self) -> str:
        """Name the derivative, as in ``W1[3, 0]``."""
        return f"{self.name}[{', '.join(map(str, self.index))}]" if self.index else self.name

    @property
    def error(self) -> float:
        """Return the distance between the two derivatives, infinite where one is not finite."""
        error = abs(self.claimed - self.numeric)
        return error if math.isfinite(error) else math.inf


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found; `str` gives a summary and the worst derivatives.

    Parameters
    ----------
    checks : tuple of Check
        Coordinates first, then directions.
    size : int
        The number of parameters, checked or not.
    method : {"central", "complex-step"}
        How the derivatives were measured.
    """

    checks: tuple[Check, ...]
    size: int
    method: Method

    def count(self, verdict: Verdict) -> int:
        """Count the checks with this verdict."""
        return sum(check.verdict == verdict for check in self.checks)

    @property
    def conclusive(self) -> int:
        """Count the coordinates that agree or disagree."""
        return sum(c.index is not None and c.verdict != "inconclusive" for c in self.checks)

    @property
    def ok(self) -> bool:
        """Tell whether nothing disagrees and at least one coordinate was conclusive."""
        return self.conclusive > 0 and self.count("disagrees") == 0

    def raise_if_wrong(self) -> None:
        """Raise AssertionError, with the report as its message, unless `ok`."""
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        coordinates = sum(check.index is not None for check in self.checks)
        counts = ", ".join(f"{self.count(verdict)} {verdict}" for verdict in get_args(Verdict))
        looked = (
            f"{coordinates} of {self.size} coordinates, {len(self.checks) - coordinates} directions"
        )
        lines = [f"gradient {'ok' if self.ok else 'WRONG'}: {counts} ({looked}, {self.method})"]
        if self.conclusive == 0:
            lines.append("no coordinate was conclusive: nothing has been checked")
        lines.append(f"{'':20}{'claimed':>24}{'numeric':>24}{'error':>11}{'tolerance':>11}")
        for c in sorted(self.checks, key=_badness, reverse=True)[:10]:
            numbers = f"{c.claimed:24.16g}{c.numeric:24.16g}{c.error:11.2g}{c.tolerance:11.2g}"
            lines.append(f"{c.where:20}{numbers}  {c.verdict}")
        return "\n".join(lines)


def _badness(check: Check) -> tuple[int, float]:
    rank = ("agrees", "inconclusive", "disagrees").index(check.verdict)
    scaled = 0 < check.tolerance < math.inf
    return rank, check.error / check.tolerance if scaled else check.error


def check_gradients(
    f: Callable[[dict[str, Any]], Any],
    grads: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    method: Method = "central",
    coordinates: int = 32,
    directions: int = 8,
    seed: int = 0,
) -> GradientReport:
    r"""Compare a gradient with numerical derivatives of its function.

    The verdict on a derivative is "agrees", "disagrees" or "inconclusive" (at a kink). How it is
    found, and with which tolerance, is told at the head of this module.

    Parameters
    ----------
    f : callable
        Any deterministic function to a real scalar from a dictionary of NumPy arrays with the names
        and shapes of `params`. At each call it gets arrays of its own.
    grads : mapping of str to array
        The claimed gradient of `f` at `params`: the same names and shapes, float32 or float64.
    params : mapping of str to array
        Finite parameters, float32 or float64.
    method : {"central", "complex-step"}
        Central differences; or the complex step, for which `f` must take complex128 arrays and be
        analytic in them.
    coordinates : int
        How many random coordinates of each array to check where there are more than `EXHAUSTIVE`
        parameters; otherwise all are.
    directions : int
        How many random directions, through all parameters, to check where there are more than
        `EXHAUSTIVE`. The components of a direction are ±max(1, \|θ\|), so that one wrong coordinate
        shows in each. If one disagrees and no coordinate does, halving it finds one that may.
    seed : int
        Seed of the random choices.

    Returns
    -------
    GradientReport
        The verdicts; call its `raise_if_wrong` in a test.

    Raises
    ------
    ValueError
        Arguments that are not as above, or a value of `f` at `params` that is not finite.

    Examples
    --------
    >>> params = {"w": np.array([3.0, 0.5]), "b": np.array(2.0)}
    >>> grads = {"w": np.array([6.0, 1.0001]), "b": np.array(0.0)}
    >>> report = check_gradients(lambda p: np.sum(p["w"] ** 2) + abs(p["b"] - 2), grads, params)
    >>> for check in report.checks:
    ...     print(check.where, check.verdict)
    w[0] agrees
    w[1] disagrees
    b inconclusive
    """
    if method not in get_args(Method):
        raise ValueError(f'method must be "central" or "complex-step", got {method!r}')
    coordinates = check_integer("coordinates", coordinates, least=1)
    directions = check_integer("directions", directions, least=0)
    rng = np.random.Generator(np.random.PCG64(check_integer("seed", seed, least=0)))
    params, grads = _arrays("params", params), _arrays("grads", grads)
    if set(grads) != set(params):
        raise ValueError(f"grads must have the keys {list(params)}, got {list(grads)}")
    for name, p in params.items():
        if grads[name].shape != p.shape:
            raise ValueError(f"grads[{name!r}] must have shape {p.shape}, got {grads[name].shape}")
        if not np.all(np.isfinite(p)):
            raise ValueError(f"params[{name!r}] must be finite, got NaN or infinity")
    differences = Differences(Function(f, params, rng), [grads[name] for name in params], rng)
    ends = np.cumsum([p.size for p in params.values()])
    size = int(ends[-1])
    measure = differences.central if method == "central" else differences.complex_step

    def check(name: str, index: tuple[int, ...] | None, line: Line) -> Check:
        claimed = differences.claim(line)
        verdict, numeric, tolerance = measure(line, claimed)
        if not (math.isfinite(claimed) and math.isfinite(numeric)):
            verdict = "disagrees"
        return Check(name, index, verdict, claimed, float(numeric), float(tolerance))

    def coordinate(i: int) -> Check:
        k = int(np.searchsorted(ends, i, side="right"))
        name, p = list(params.items())[k]
        index = np.unravel_index(i - ends[k] + p.size, p.shape)
        return check(name, tuple(map(int, index)), differences.f.coordinate(i))

    if size <= EXHAUSTIVE:
        return GradientReport(tuple(map(coordinate, range(size))), size, method)
    checks = {i: coordinate(i) for i in differences.sample(coordinates, rng)}
    along = []
    for k in range(directions):
        v = rng.choice([-1.0, 1.0], size) * differences.f.unit
        along.append(check(f"direction {k}", None, Line(slice(0, size), v)))
        if along[k].verdict == "disagrees" and not any(map(_disagrees, checks.values())):
            low, high = 0, size
            while high - low > 1:
                middle = (low + high) // 2
                half = Line(slice(low, middle), v[low:middle])
                low, high = (low, middle) if _disagrees(check("", None, half)) else (middle, high)
            checks[low] = coordinate(low)
    return GradientReport((*(checks[i] for i in sorted(checks)), *along), size, method)


def _disagrees(check: Check) -> bool:
    return check.verdict == "disagrees"


def _arrays(title: str, arrays: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return NumPy arrays; refuse dtypes that this module is not about."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{title}[{name!r}] must be float32 or float64, got {array.dtype}")
    if not any(array.size for array in arrays.values()):
        raise ValueError(f"{title} must hold at least one number, got the keys {list(arrays)}")
    return arrays
