"""Differences of a function along a line: the algorithm that `purenet.testing.gradients` derives.

`FlatFunction` evaluates f and measures how exact its values are. `Differences` refines a step until
the difference quotients decide about a claimed derivative. Each constant stands above its use.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purenet.testing.trees import Tree, to_numpy

__all__ = ["Differences", "FlatFunction", "Line", "Verdict"]

Verdict: TypeAlias = Literal["agrees", "disagrees", "inconclusive", "insensitive"]
Finding: TypeAlias = tuple[Verdict, float, float]  # verdict, numerical derivative, tolerance
Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """Hold a line φ(t) = f(θ + t v), with v zero outside `where`.

    Parameters
    ----------
    where : int or slice
        The coordinates that move.
    v : float or numpy.ndarray
        The direction in these coordinates.
    reach : float
        The size of θ along the line: a step h stands for t = h · reach.
    """

    where: int | slice
    v: float | Vector
    reach: float = 1.0


# Along a short line f is a polynomial of this degree but for its rounding: the remainder is of the
# sixth order in the length of the line.
DEGREE = 5


def chebyshev_nodes(n: int) -> Vector:
    """Return Chebyshev points of [-1, 1]: irregular, so that no period of f hides between them."""
    return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def off_polynomial(x: Vector, y: Vector) -> Vector:
    """Return the residuals of the least-squares polynomial of degree `DEGREE` through y(x)."""
    basis = np.linalg.qr(np.polynomial.legendre.legvander(x / np.max(np.abs(x)), DEGREE))[0]
    return y - basis @ (basis.T @ y)


# The noise of f is measured near so many places. The median over the places ignores one or two that
# meet a kink.
NOISE_PLACES = 5

# There are twice as many nodes as coefficients: half of the values determine the fit, and the other
# half the noise.
NOISE_NODES = chebyshev_nodes(2 * (DEGREE + 1))

# The places are about so far from θ, in units of max(1, |θ|). At θ itself many kinks may meet,
# because biases start at 0.
NOISE_SHIFT = 2.0**-12

# The half lengths of a line near a place, from two float32 ulp of 1 to half of NOISE_SHIFT. The
# shortest comes first. Longer lines are needed only if f is so flat that its values are equal,
# which hides its rounding.
NOISE_SCALES = (2.0**-22, 2.0**-19, 2.0**-16, 2.0**-13)

# η allows for so many standard deviations of the noise.
NOISE_BOUND = 4

# A function that adds up numbers of two precisions is smooth at the one scale and a staircase at
# the other. So many bisections, in so many disjoint intervals of this length, lead to a step of the
# staircase: where the difference of the ends has not halved over the last ten, it is a step.
STAIRS = 5
STAIR_LENGTH = 0.04
BISECTIONS = 36

# A float64 number is scaled where its exponent exceeds this, so that no square overflows.
LARGE_EXPONENT = 300

# f is called so often at θ, to see whether it is deterministic.
REPEATS = 8

# f is also evaluated at so many points that are about max(1, |θ|) away. If f is flat, its values
# nearby do not show the size of the terms that it has rounded.
FAR_POINTS = 8


class FlatFunction:
    """Evaluate f on one flat vector θ, and tell how exact its values are.

    f is evaluated in float64 if it then answers in float64, and else in the dtypes of `params`.

    Parameters
    ----------
    f : callable
        A function of a tree of arrays to a scalar.
    params : Tree
        θ, as f takes it.
    rng : numpy.random.Generator
        Draws the points at which the noise of f is measured.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        params: Tree,
        rng: np.random.Generator,
    ) -> None:
        self.f, self.params = f, params
        arrays = list(params.arrays.values())
        ends = np.cumsum([p.size for p in arrays]).tolist()
        parts = [slice(end - p.size, end) for p, end in zip(arrays, ends, strict=True)]
        self.parts = [(part, p.shape) for part, p in zip(parts, arrays, strict=True)]
        self.theta = np.concatenate([p.ravel() for p in arrays], dtype=np.float64)
        self.unit = np.maximum(1, np.abs(self.theta))
        self.exponent = 0
        own, double = [p.dtype for p in arrays], [np.dtype(np.float64)] * len(arrays)
        self.dtypes, value = own, self.evaluate(self.theta.copy(), own)
        try:
            raised = self.evaluate(self.theta.copy(), double)
        except Exception:  # f works, as the call before shows, but not on float64
            raised = np.float32(math.nan)
        if raised.dtype == np.float64:
            self.dtypes, value = double, raised
        self.eps = float(np.finfo(value.dtype).eps)
        self.grid = np.float32 if np.float32 in self.dtypes else np.float64
        self.value = float(value)
        if not math.isfinite(self.value):
            raise ValueError(f"f(params) must be finite, got {self.value}")
        near = [self.theta + sign * NOISE_SHIFT * self.unit for sign in (-1, 1)]
        sizes = [abs(v) for v in (self.value, *map(self, near)) if math.isfinite(v)]
        exponent = math.frexp(max(sizes))[1]
        if abs(exponent) > LARGE_EXPONENT:
            self.exponent = exponent
            self.value = self.scaled(self.value)
        self.check_repeats()
        self._measure_noise(own, rng)

    def check_repeats(self) -> None:
        """Refuse a function that gives other values at θ than it gave at first."""
        for _ in range(REPEATS):
            again = self(self.theta.copy())
            # Threads may sum in another order at each call, so two values may differ by rounding.
            if not abs(again - self.value) <= math.sqrt(self.eps) * abs(self.value):
                raise ValueError(
                    f"f must be deterministic, got {math.ldexp(self.value, self.exponent)}, "
                    f"then {math.ldexp(again, self.exponent)}"
                )

    def evaluate(self, point: NDArray[Any], dtypes: Sequence[Any]) -> Any:
        """Call f on a point, which it may keep, in these dtypes; return a NumPy scalar."""
        arrays = [
            point[part].astype(dtype, copy=False).reshape(shape)
            for (part, shape), dtype in zip(self.parts, dtypes, strict=True)
        ]
        with np.errstate(all="ignore"):
            value = to_numpy(self.f(self.params.build(arrays)))
        kinds, wanted = ("c", "complex") if point.dtype.kind == "c" else ("fiu", "real")
        if value.shape != () or value.dtype.kind not in kinds:
            raise ValueError(
                f"f must return a {wanted} scalar for {wanted} parameters, "
                f"got {value.dtype} of shape {value.shape}"
            )
        return (value if value.dtype.kind in "fc" else value.astype(np.float64))[()]

    def __call__(self, point: Vector) -> float:
        """Return the value of f at a point, which f may keep."""
        return self.scaled(self.evaluate(point, self.dtypes))

    def scaled(self, value: Any) -> float:
        """Return a value of f in units of 2**exponent, exactly."""
        if not self.exponent:
            return float(value)
        with np.errstate(all="ignore"):
            return float(np.ldexp(np.float64(value), -self.exponent))

    def _measure_noise(self, own: Sequence[np.dtype[Any]], rng: np.random.Generator) -> None:
        """Measure the rounding errors of f, as it is evaluated here and in its own dtypes.

        Sets `noise`, a standard deviation; `relative` and `own_relative`, relative errors; and
        `far` and `variation`, the largest value of f at a distance and its largest change.
        """

        def shift(scale: float) -> Vector:
            return scale * self.unit * rng.uniform(-1, 1, self.unit.size)

        noise, differences, sizes = [], [], [abs(self.value)]
        for _ in range(NOISE_PLACES):
            place, v = self.theta + shift(NOISE_SHIFT), shift(1.0)
            if own != self.dtypes:  # one point for both: float32 numbers
                place = place.astype(np.float32).astype(np.float64)
            values = self._values_near(place, v)
            if np.all(np.isfinite(values)):
                residuals = off_polynomial(NOISE_NODES, values - values[0])
                noise.append(np.sqrt(np.sum(residuals**2) / (values.size - DEGREE - 1)))
                differences.append(self.scaled(self.evaluate(place.copy(), own)) - self(place))
                sizes.append(np.max(np.abs(values)))
        self.noise = float(np.median(noise)) if noise else 0.0
        # A number that is rounded to a multiple of Q is off by Q/√12 on average.
        self.noise = max(self.noise, self._stair(rng) / math.sqrt(12))
        differences = [d for d in differences if math.isfinite(d)]
        own_noise = float(np.sqrt(np.mean(np.square(differences)))) if differences else 0.0
        size = max(sizes) or 1.0
        self.relative = max(self.eps, self.noise / size)
        self.own_relative = max(self.relative, own_noise / size)
        far = [self(self.theta + shift(1.0)) for _ in range(FAR_POINTS)]
        far = [value for value in far if math.isfinite(value)]
        self.far = max(map(abs, far), default=0.0)
        self.variation = max((abs(value - self.value) for value in far), default=0.0)

    def _stair(self, rng: np.random.Generator) -> float:
        """Return the height of the steps of f, or 0 if most of some intervals hold none."""
        v, heights = self.unit * rng.uniform(-1, 1, self.unit.size), []
        for k in range(STAIRS):
            left, right = (STAIR_LENGTH * (k + end - STAIRS / 2) for end in (0, 1))
            f_left, f_right = (self(self.theta + t * v) for t in (left, right))
            trail = []
            for _ in range(BISECTIONS):  # into the half that changes more
                middle = (left + right) / 2
                f_middle = self(self.theta + middle * v)
                if abs(f_middle - f_left) > abs(f_right - f_middle):
                    right, f_right = middle, f_middle
                else:
                    left, f_left = middle, f_middle
                trail.append(abs(f_right - f_left))
            heights.append(trail[-1] if trail[-1] >= trail[-11] / 2 else 0.0)
        height = float(np.median(heights))
        return height if math.isfinite(height) else 0.0

    def _values_near(self, place: Vector, v: Vector) -> Vector:
        """Return values of f on the shortest line through a place on which most values differ."""
        for scale in NOISE_SCALES:
            values = np.array([self(place + scale * x * v) for x in NOISE_NODES])
            if np.unique(values).size > values.size / 2:
                break
        return values

    def error(self, *values: float) -> float:
        """Bound η, the error of values of f."""
        # log(1 + 1e-20) is 0, and its rounding shows neither in its size nor in its neighbours.
        flat = all(value == self.value for value in values)
        size = max(*map(abs, values), abs(self.value), self.far if flat else 0.0)
        return self.eps * size + NOISE_BOUND * self.noise

    def coordinate(self, i: int) -> Line:
        """Return the line through one coordinate."""
        return Line(i, 1.0, math.copysign(self.unit[i], self.theta[i]))

    def step(self, line: Line, h: float) -> float:
        """Return t near h · reach; on a coordinate, θ + t and θ - t are then exact."""
        t = h * line.reach
        if isinstance(line.where, slice):
            return t
        theta = float(self.theta[line.where])
        return float(self.grid(theta + t)) - theta

    def at(self, line: Line, t: float, base: Vector | None = None) -> float:
        """Return φ(t), from θ or from another base."""
        point = (self.theta if base is None else base).copy()
        point[line.where] += t * line.v
        return self(point)

    def slope(self, line: Line, t: float, base: Vector) -> float:
        """Return the central difference (φ(t) - φ(-t)) / 2t from a base."""
        return (self.at(line, t, base) - self.at(line, -t, base)) / (2 * t)

    def complex_slope(self, line: Line, h: float, base: Vector) -> float:
        """Return Im φ(ih) / h from a base."""
        point = base.astype(np.complex128)
        point[line.where] += 1j * h * line.v
        return self.scaled(self.evaluate(point, [np.complex128] * len(self.parts)).imag) / h


# Each step is the one before divided by this. On a smooth φ the division makes the truncation 16
# times and the jump 64 times smaller. A power of two makes the division exact.
RATIO = 4

# Rounding changes C, the truncation and J/2 together by at most so many η/h: by 1, 1.25 and 2.67,
# if the errors of the five values of φ add up in each of the three.
ROUNDINGS = 5

# A step that is finer by RATIO makes rounding 4 times larger, and truncation + J/2 at least 16
# times smaller on a smooth φ. If the sum is 20 roundings, that makes E smaller by
# (1 + 20) / (4 + 20/16) = 4. If it is less, a finer step gains little.
REFINABLE = 20

# E has fallen if it has become smaller by this. On a smooth φ the factor is at least 4, as above. A
# kink at 0 leaves E as it is, or lets it grow.
FALL = 2

# A polynomial has 6 coefficients, so 19 of these values test the fit. Several kinks can cancel in
# the four values of two steps; to cancel in all of these values is next to impossible.
SMOOTH_NODES = chebyshev_nodes(25)

# Errors of η in all values leave residuals of at most 2.25 η (the norm of the fit's residual map),
# and of less than 2 η unless their signs conspire.
SMOOTH_RESIDUAL = 2

# Rounding errors of random signs add up to about √n ε in a sum of n terms, so 64 allows n = 4096.
CLAIM_ROUNDINGS = 64

# All parameters are moved by their rounding so often, and a claim is granted so many times the
# largest change of the slope. The largest of 8 normal numbers is about 1.7 standard deviations, so
# the grant is about 7 standard deviations.
MOVES = 8
MOVED_SLOPES = 4

# Before a claim is called wrong, slopes are compared on both sides of θ in so many directions.
ACROSS = 4

# An agreement says something if the tolerance is at most this share of the derivative; or, where
# the claim is 0, at most this share of the change of f at the distance of a parameter's own size.
# The value of f stands for its change if it is constant there.
SENSITIVE = 1 / 2
SENSITIVE_AT_ZERO = 1e-3

# The complex step: its square underflows to 0, and with it the truncation.
IMAGINARY = 1e-200


class Quotients(NamedTuple):
    """Hold the difference quotients of φ at the step t."""

    t: float
    C: float  # (φ(t) - φ(-t)) / 2t
    G: float  # (φ(t) - 2 φ(0) + φ(-t)) / t, the difference of the slopes on both sides
    rounding: float  # what rounding does to E


class Estimate(NamedTuple):
    """Hold an estimate C of φ′(0) from the steps h and 4h."""

    h: float
    t: float
    C: float
    curvature: float  # φ″
    rounding: float
    measured: float  # truncation + J/2


class Differences:
    """Judge a claimed gradient of f, line by line.

    Parameters
    ----------
    f : FlatFunction
        The function.
    grads : sequence of numpy.ndarray
        The claimed gradient, array by array.
    rng : numpy.random.Generator
        Draws how all parameters are moved by their rounding.
    """

    def __init__(
        self, f: FlatFunction, grads: Sequence[NDArray[Any]], rng: np.random.Generator
    ) -> None:
        self.f, self.grads = f, grads
        self.flat = np.concatenate([g.ravel() for g in grads], dtype=np.float64)
        largest = np.array([np.max(np.abs(g), initial=0, where=np.isfinite(g)) for g in grads])
        with np.errstate(all="ignore"):
            self.flat = np.ldexp(self.flat, -f.exponent)
            largest = np.ldexp(largest.astype(np.float64), -f.exponent)
        self.largest = np.repeat(largest, [g.size for g in grads])
        self.eps = max(float(np.finfo(g.dtype).eps) for g in grads)
        self.tiny = f.scaled(max(float(np.finfo(g.dtype).tiny) for g in grads))
        # If f is near 0 only by chance, its relative noise is no guide to a step: hence the bound.
        self.h = float(np.cbrt(max(f.eps, min(f.relative, float(np.finfo(np.float32).eps)))))
        # The steps are 4h, h, h/4, ..., as long as rounding leaves a step anything to tell.
        finest = max(f.eps, float(np.finfo(f.grid).eps))
        last = int(math.log(self.h / finest, RATIO))
        self.steps = [self.h * float(RATIO) ** -k for k in range(-1, last + 1)]
        self.moved = [
            f.theta * (1 + self.eps * rng.standard_normal(f.theta.size)) for _ in range(MOVES)
        ]
        self.across = [rng.uniform(-1, 1, f.theta.size) * f.unit for _ in range(ACROSS)]

    def sample(self, coordinates: int, rng: np.random.Generator) -> list[int]:
        """Choose coordinates of each array, and some that are not finite."""
        chosen = set(np.flatnonzero(~np.isfinite(self.flat))[:coordinates].tolist())
        start = 0
        for g in self.grads:
            picked = rng.choice(g.size, min(g.size, coordinates), replace=False)
            chosen.update((start + picked).tolist())
            start += g.size
        return sorted(chosen)

    def claim(self, line: Line) -> float:
        """Return the claimed derivative along a line."""
        return float(np.sum(self.flat[line.where] * line.v))

    def central(self, line: Line, claimed: float) -> Finding:
        """Judge a claim by central differences.

        The step is refined until E has fallen and rounding is a good part of it. Such an E bounds
        the error of C, and the claim is compared with C.
        """
        least = (math.inf, math.nan)  # the least E and its C, to be reported without an answer
        limit = math.inf  # E has fallen if it is at most limit / FALL
        for estimate in self._estimates(line):
            C, E = estimate.C, estimate.rounding + estimate.measured
            least = min(least, (E, C))
            if FALL * estimate.rounding > limit:
                break  # finer steps round more: E falls no further
            fallen, limit = limit >= FALL * E, E
            if not fallen or estimate.measured > REFINABLE * estimate.rounding:
                continue  # there may be a kink at 0, or else a finer step divides E
            tolerance = E + self._rounding_of_claim(line, estimate.curvature)
            if abs(claimed - C) <= tolerance:
                return "agrees", C, tolerance
            if self._is_smooth(line, RATIO * estimate.h):
                if self._kinks_meet(line, estimate, abs(claimed - C)):
                    return "inconclusive", C, tolerance
                if self.eps <= self.f.relative:
                    return "disagrees", C, tolerance
                slope = partial(self.f.slope, line, estimate.t)
                return self._judge_moved(claimed, C, tolerance, slope)
            limit = abs(claimed - C)  # several kinks: a finer step must tell C from the claim
        E, C = least
        return "inconclusive", C, E

    def _estimates(self, line: Line) -> Iterator[Estimate]:
        """Yield an estimate from each pair of successive steps, leaving out those that overflow."""
        coarse = None
        for h in self.steps:
            fine = self._quotients(line, h)
            if not math.isfinite(fine.G):
                continue
            if coarse is not None:
                r = fine.t / coarse.t
                truncation = abs(fine.C - coarse.C)
                jump = abs(fine.G - r * coarse.G) / (1 - r)
                curvature, measured = fine.G / fine.t, truncation + jump / 2
                yield Estimate(h, fine.t, fine.C, curvature, fine.rounding, measured)
            coarse = fine

    def _quotients(self, line: Line, h: float) -> Quotients:
        f, t = self.f, self.f.step(line, h)
        up, down = f.at(line, t), f.at(line, -t)
        return Quotients(
            t,
            C=(up - down) / (2 * t),
            G=((up - f.value) - (f.value - down)) / t,
            rounding=ROUNDINGS * f.error(up, down) / abs(t),
        )

    def _is_smooth(self, line: Line, h: float) -> bool:
        """Tell whether values from -h to h lie on a polynomial but for their rounding."""
        t = np.array([self.f.step(line, h * x) for x in SMOOTH_NODES])
        values = np.array([self.f.at(line, step) for step in t])
        if not np.all(np.isfinite(values)):
            return False
        residuals = off_polynomial(t, values - self.f.value)
        return bool(np.max(np.abs(residuals)) <= SMOOTH_RESIDUAL * self.f.error(*values))

    def _kinks_meet(self, line: Line, estimate: Estimate, gap: float) -> bool:
        """Tell whether the slope along a line jumps at θ by enough to explain a gap.

        Kinks that meet at θ may cancel along one coordinate. They do not where the other
        parameters are moved to one side and to the other. There the difference of the slopes goes
        to 0 with the move if f is smooth, and to the jump if it is not.
        """
        f, t = self.f, estimate.t
        for u in self.across:
            differences = []
            for size in (8 * estimate.h, 8 * estimate.h / RATIO):
                shift = size * u
                shift[line.where] = 0
                one, other = (f.slope(line, t, f.theta + sign * shift) for sign in (1, -1))
                differences.append(one - other)
            jump = abs(differences[1] - differences[0] / RATIO) / (1 - 1 / RATIO)
            if jump > max(gap / 2, 4 * f.error() / abs(t)):
                return True
        return False

    def judged(self, line: Line, claimed: float, finding: Finding) -> Finding:
        """Turn an agreement that any claim of about this size would reach into "insensitive"."""
        verdict, numeric, tolerance = finding
        if verdict != "agrees":
            return finding
        size = max(abs(claimed), abs(numeric))
        needed = SENSITIVE * size
        if claimed == 0:
            change = self.f.variation or abs(self.f.value) or math.inf  # f may be constant, or 0
            needed = max(
                needed, SENSITIVE_AT_ZERO * change / float(np.max(self.f.unit[line.where]))
            )
        return finding if tolerance <= needed else ("insensitive", numeric, tolerance)

    def check_analytic(self, rng: np.random.Generator) -> None:
        """Refuse a function whose complex step contradicts a central difference."""
        line = Line(slice(0, self.f.theta.size), rng.choice([-1.0, 1.0], self.f.theta.size))
        slope = self.f.complex_slope(line, IMAGINARY, self.f.theta)
        verdict, numeric, _ = self.central(line, slope)
        if verdict == "disagrees":
            raise ValueError(
                f"f must be analytic for the complex step, which gives a derivative of {slope:.9g} "
                f'where differences give {numeric:.9g}: take method="central"'
            )

    def complex_step(self, line: Line, claimed: float) -> Finding:
        """Judge a claim by the complex step."""
        f, t = self.f, self.h * line.reach
        up, down = (f.complex_slope(line, h, f.theta) for h in (IMAGINARY, -IMAGINARY))
        beside = f.theta.copy()
        beside[line.where] += t * line.v
        curvature = (f.complex_slope(line, IMAGINARY, beside) - up) / t
        tolerance = self._rounding_of_claim(line, curvature)
        if abs(up - down) > tolerance:
            return "inconclusive", (up + down) / 2, tolerance
        if abs(claimed - up) <= tolerance:
            return "agrees", up, tolerance
        return self._judge_moved(claimed, up, tolerance, partial(f.complex_slope, line, IMAGINARY))

    def _rounding_of_claim(self, line: Line, curvature: float) -> float:
        """Bound the rounding of a claim by the sizes of the terms whose sum it may be."""
        size = abs(self.f.value)
        terms = float(np.linalg.norm(self.largest[line.where] * line.v))
        relative = float(np.max(np.abs(line.v / self.f.unit[line.where])))
        terms += math.sqrt(2 * size * abs(curvature)) + size * relative
        return CLAIM_ROUNDINGS * (max(self.eps, self.f.own_relative) * terms + self.tiny)

    def _judge_moved(
        self, claimed: float, numeric: float, tolerance: float, slope: Callable[[Vector], float]
    ) -> Finding:
        """Judge after granting what the slope changes when all parameters move by rounding."""
        here = slope(self.f.theta)
        tolerance += MOVED_SLOPES * max(abs(slope(base) - here) for base in self.moved)
        return "agrees" if abs(claimed - numeric) <= tolerance else "disagrees", numeric, tolerance
