r"""Check a gradient against differences of its function; at a kink, say that there is no answer.

`check_gradients` takes any scalar function f of a dictionary of arrays. It examines f along lines,
φ(t) = f(θ + t v), where v is one coordinate or a random direction. Each derivative φ′(0) gets one
of three verdicts. The claimed number *agrees*; it *disagrees*; or the check is *inconclusive*: φ
has a kink (a jump of φ′, as ReLU has) so near to 0 that it cannot be told from a kink at 0.

**Noise.** Only values of φ are known, each to within η. Rounding the result costs eps\|f\|. The
rounding of the arithmetic inside f is measured: on lines so short that f is a polynomial but for
its rounding, the noise is the residual of a fitted polynomial [1]_. (So whatever moves f at a scale
of about 1e-7 max(1, \|θ\|) counts as noise.)

**Differences.** With a step h, and with the slopes D± from 0 to ±h,

    C(h) = (φ(h) - φ(-h)) / 2h = φ′(0) + φ‴ h²/6 + O(h⁴), to within η/h,
    G(h) = D+ - D- = φ″ h + O(h³), to within 4η/h.

The errors of C balance at h = ∛ε max(1, \|θ\|), ε = η/\|f\| [2]_. The check begins at this h,
rounded so that θ + h and θ - h are floating-point numbers. It assumes nothing about φ″ and φ‴. It
measures what they and kinks do to C by comparing h with 4h:

- The truncation is at most \|C(h) - C(4h)\|, which is 15 times the truncation if φ is smooth.
- The jump is the limit of G as h → 0, J = \|G(h) - G(4h)/4\| / (1 - 1/4). If φ is smooth, J is
  O(h³). With a kink at 0, J is the jump of φ′ for every h, and C is wrong by J/2.

With one kink, at any distance, truncation + J/2 bounds the error of C(h). The tolerance is
E = 5η/h + truncation + J/2, where 5η/h bounds the effect of rounding on all three. While
truncation + J/2 is more than 20 times 5η/h, h is divided by 4. On a smooth φ this divides the
truncation by 16, the jump by 64, and so E by more than 2. A kink at 0 leaves E as it is. Hence, at
a step where E has fallen and truncation + J/2 is not that large, the derivative

- *agrees* if the claim is within E of C;
- *disagrees* if it is not, and 25 values from -4h to 4h lie on a polynomial of degree 5 to within
  2η. If they do not, several kinks hide each other, and h is refined once more;
- is *inconclusive* if rounding hides all differences before such a step is found.

So a wrong derivative of a smooth function is not excused as a kink, and a kink does not make a
right derivative look wrong. Kinks that are too near to each other to be told apart may cancel. Then
f looks as if it had another derivative, which need not follow a convention like ReLU′(0) = 0. The
verdict is about that derivative.

**The rounding of the claim.** Float32 parameters are raised to float64 if f then answers in
float64, so that differences add nothing to the rounding of the float32 claim. If f refuses float64
or answers in float32, it is differenced in its own precision, with η as measured. The rounding of a
claimed derivative g is taken as

    64 ε (max\|g\| + √(2\|f φ″\|) + \|f\| / max(1, \|θ\|)) + 64 tiny,

with ε the relative error of f in the precision of the claim (measured, at least eps), max\|g\| over
the same array, and tiny the smallest normal number. The claim is a sum of rounded terms. In a sum
of squares, their sizes add up to at most √(2 f φ″), by the Cauchy-Schwarz inequality with the φ″ of
Gauss-Newton; in a cross-entropy they add up to about as much. A claim that is further off is
granted four times the change of the slope when all parameters move by their own rounding [3]_. This
allows for ill-conditioned problems, and for kinks nearer than rounding can tell. No bound made of
values of f covers float32 derivatives that have lost all their digits (where probabilities round to
1 because weights are large). Check these in float64.

**The complex step.** If f takes complex parameters and is analytic in them, φ′(0) = Im φ(ih)/h
subtracts nothing, so h is 1e-200 and the tolerance is the rounding of the claim [4]_. A kink is
seen if h and -h give different slopes, as they do where NumPy compares complex numbers.

**The smallest visible error.** If θ, f and the derivative are of one size, the smallest relative
error that disagrees is a few 1e-9 in float64, 1e-13 by the complex step, a few 1e-5 in a float32
gradient of an f that answers in float64, and 1e-3 if f is float32 itself. Each check reports its
tolerance.

References
----------
.. [1] J. Moré, S. Wild, "Estimating Computational Noise", 2011, section 3.
.. [2] W. Press et al., "Numerical Recipes", 3rd edition, 2007, section 5.7.
.. [3] N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, 2002, section 1.6.
.. [4] W. Squire, G. Trapp, "Using Complex Variables to Estimate Derivatives of Real Functions",
   1998.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from purenet.params import check_integer
from purenet.testing.differences import Differences, FlatFunction, Line, Verdict
from purenet.testing.trees import Tree, autodiff

__all__ = ["EXHAUSTIVE", "Check", "GradientReport", "Method", "Verdict", "check_gradients"]

Method: TypeAlias = Literal["central", "complex-step"]

EXHAUSTIVE = 1000
"""The number of parameters up to which every coordinate is checked."""


@dataclass(frozen=True)
class Check:
    """Hold one derivative as claimed and as measured, and the verdict.

    Parameters
    ----------
    name : str
        The name of the array, or ``"direction 0"`` and so on.
    index : tuple of int, optional
        The index of the coordinate in its array; None for a direction.
    verdict : {"agrees", "disagrees", "inconclusive", "insensitive"}
        The answer. "insensitive" means that the tolerance is not small beside the derivative, so
        that a wrong claim would have agreed too.
    claimed, numeric : float
        The derivative by the gradient, and by differences of the function.
    tolerance : float
        The error up to which the two agree. If inconclusive, `numeric` and `tolerance` belong to
        the step that came nearest to an answer.
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
        """Return the distance between the two derivatives, infinite if one is not finite."""
        error = abs(self.claimed - self.numeric)
        return error if math.isfinite(error) else math.inf


@dataclass(frozen=True)
class GradientReport:
    """Hold the findings of `check_gradients`. `str` gives a summary and the worst derivatives.

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
        decided = ("agrees", "disagrees")
        return sum(c.index is not None and c.verdict in decided for c in self.checks)

    @property
    def ok(self) -> bool:
        """Tell whether nothing disagrees and at least one coordinate was conclusive."""
        return self.conclusive > 0 and self.count("disagrees") == 0

    def by_array(self) -> dict[str, dict[Verdict, int]]:
        """Count the verdicts of the coordinates of each array."""
        found: dict[str, Counter[Verdict]] = {}
        for c in self.checks:
            if c.index is not None:
                found.setdefault(c.name, Counter())[c.verdict] += 1
        return {name: dict(counts) for name, counts in found.items()}

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
        for name, verdicts in self.by_array().items():
            total = sum(verdicts.values())
            wrong, right = verdicts.get("disagrees", 0), verdicts.get("agrees", 0)
            found = f"{wrong} of {total} wrong" if wrong else f"{right} of {total} agree"
            lines.append(f"{name}: {found}")
        lines.append(f"{'':20}{'claimed':>24}{'numeric':>24}{'error':>11}{'tolerance':>11}")
        for c in sorted(self.checks, key=_badness, reverse=True)[:10]:
            numbers = f"{c.claimed:24.16g}{c.numeric:24.16g}{c.error:11.2g}{c.tolerance:11.2g}"
            lines.append(f"{c.where:20}{numbers}  {c.verdict}")
        return "\n".join(lines)


def _badness(check: Check) -> tuple[int, float]:
    """Return a key that sorts checks from good to bad."""
    rank = ("agrees", "insensitive", "inconclusive", "disagrees").index(check.verdict)
    scaled = 0 < check.tolerance < math.inf
    return rank, check.error / check.tolerance if scaled else check.error


def check_gradients(  # noqa: PLR0915
    f: Callable[[Any], Any],
    grads: Any = None,
    params: Any = None,
    *,
    method: Method = "central",
    coordinates: int = 32,
    directions: int = 8,
    seed: int = 0,
) -> GradientReport:
    r"""Compare a gradient with numerical derivatives of its function.

    The verdict on a derivative is "agrees", "disagrees", "inconclusive" (at a kink), or
    "insensitive" (a wrong claim would have agreed too). The head of this module derives the
    verdicts and their tolerances.

    Parameters
    ----------
    f : callable
        Any deterministic function of `params` to a real scalar. Each call gets arrays of its own.
    grads : tree of arrays, optional
        The claimed gradient of `f` at `params`, in the same form. Default: the gradient by the
        autodiff of PyTorch or JAX, if the parameters are arrays of theirs.
    params : tree of arrays
        Finite parameters, float32 or float64: a dictionary, list or tuple of arrays of NumPy,
        PyTorch or JAX, nested in any way, or one array.
    method : {"central", "complex-step"}
        Central differences; or the complex step, which needs an `f` that takes complex128 arrays
        and is analytic in them.
    coordinates : int
        The number of random coordinates to check in each array if there are more than `EXHAUSTIVE`
        parameters. If there are fewer, all coordinates are checked.
    directions : int
        The number of random directions, through all parameters, to check if there are more than
        `EXHAUSTIVE`. The components of a direction are ±max(1, \|θ\|), so that one wrong coordinate
        shows in each direction. If a direction disagrees and no coordinate does, halving the
        direction leads to a coordinate that may.
    seed : int
        Seed of the random choices.

    Returns
    -------
    GradientReport
        The verdicts; call its `raise_if_wrong` in a test.

    Raises
    ------
    ValueError
        Arguments that are not as described above, or a value of `f` at `params` that is not finite.

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
    if params is None:
        raise ValueError("params must be given: the point at which the gradient is checked")
    tree = Tree("params", params)
    claimed_tree = Tree("grads", autodiff(f, tree) if grads is None else grads)
    theta, claims = tree.arrays, claimed_tree.arrays
    if list(theta) == ["params"] and list(claims) == ["grads"]:  # one array each
        claims = {"params": claims["grads"]}
    if set(claims) != set(theta):
        raise ValueError(f"grads must have the keys {list(theta)}, got {list(claims)}")
    for name, p in theta.items():
        if claims[name].shape != p.shape:
            raise ValueError(f"grads[{name!r}] must have shape {p.shape}, got {claims[name].shape}")
        if not np.all(np.isfinite(p)):
            raise ValueError(f"params[{name!r}] must be finite, got NaN or infinity")
    function = FlatFunction(f, tree, rng)
    differences = Differences(function, [claims[name] for name in theta], rng)
    if method == "complex-step":
        differences.check_analytic(rng)
    ends = np.cumsum([p.size for p in theta.values()])
    size = int(ends[-1])
    measure = differences.central if method == "central" else differences.complex_step

    def along(line: Line, name: str, index: tuple[int, ...] | None = None) -> Check:
        claimed = differences.claim(line)
        verdict, numeric, tolerance = differences.judged(line, claimed, measure(line, claimed))
        if not (math.isfinite(claimed) and math.isfinite(numeric)):
            verdict = "disagrees"
        with np.errstate(all="ignore"):
            numbers = np.ldexp([claimed, numeric, tolerance], function.exponent)
        return Check(name, index, verdict, *map(float, numbers))

    def coordinate(i: int) -> Check:
        k = int(np.searchsorted(ends, i, side="right"))
        name, p = list(theta.items())[k]
        index = np.unravel_index(i - ends[k] + p.size, p.shape)
        return along(differences.f.coordinate(i), name, tuple(map(int, index)))

    if size <= EXHAUSTIVE:
        every = tuple(map(coordinate, range(size)))
        function.check_repeats()
        return GradientReport(every, size, method)
    checks = {i: coordinate(i) for i in differences.sample(coordinates, rng)}
    of_directions = []
    for k in range(directions):
        v = rng.choice([-1.0, 1.0], size) * differences.f.unit
        of_directions.append(along(Line(slice(0, size), v), f"direction {k}"))
        if _disagrees(of_directions[k]) and not any(map(_disagrees, checks.values())):
            low, high = 0, size
            while high - low > 1:  # a wrong direction has a wrong half
                middle = (low + high) // 2
                half = Line(slice(low, middle), v[low:middle])
                low, high = (low, middle) if _disagrees(along(half, "half")) else (middle, high)
            checks[low] = coordinate(low)
    function.check_repeats()
    return GradientReport((*(checks[i] for i in sorted(checks)), *of_directions), size, method)


def _disagrees(check: Check) -> bool:
    return check.verdict == "disagrees"
