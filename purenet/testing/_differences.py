"""Differences of a function along a line, as the head of `purenet.testing.gradients` tells it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Differences", "Function", "Line", "Verdict"]

Verdict: TypeAlias = Literal["agrees", "disagrees", "inconclusive"]
Vector: TypeAlias = NDArray[np.float64]

_IMAGINARY = 1e-200  # its square is 0, and with it the truncation


def _nodes(n: int) -> Vector:
    """Return Chebyshev points of [-1, 1]: irregular, so that no period of f hides between them."""
    return np.cos(np.pi * (np.arange(n) + 0.5) / n)


def _off_quintic(x: Vector, y: Vector) -> Vector:
    """Return what the best polynomial of degree 5 leaves of y(x)."""
    basis = np.linalg.qr(np.polynomial.legendre.legvander(x / np.max(np.abs(x)), 5))[0]
    return y - basis @ (basis.T @ y)


@dataclass(frozen=True)
class Line:
    """φ(t) = f(θ + t v), with v zero outside `where`. The natural step ∛ε is t = ∛ε · reach."""

    where: int | slice
    v: Any
    reach: float = 1.0


class Function:
    """f of one flat vector θ, and how exact its values are."""

    def __init__(
        self,
        f: Callable[[dict[str, Any]], Any],
        params: dict[str, NDArray[Any]],
        rng: np.random.Generator,
    ) -> None:
        self.f = f
        ends = np.cumsum([p.size for p in params.values()]).tolist()
        parts = [slice(end - p.size, end) for p, end in zip(params.values(), ends, strict=True)]
        self.parts = [(name, parts[k], p.shape) for k, (name, p) in enumerate(params.items())]
        self.theta = np.concatenate([p.ravel() for p in params.values()], dtype=np.float64)
        self.unit = np.maximum(1, np.abs(self.theta))
        own, double = [p.dtype for p in params.values()], [np.dtype(np.float64)] * len(params)
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
        again = self(self.theta.copy())
        if not abs(again - self.value) <= math.sqrt(self.eps) * abs(self.value):
            raise ValueError(f"f must be deterministic, got {self.value}, then {again}")
        self._measure_noise(own, rng)

    def evaluate(self, point: NDArray[Any], dtypes: Sequence[Any]) -> Any:
        """Call f on a point, which it may keep, in these dtypes; return a NumPy scalar."""
        arrays = {
            name: point[part].astype(dtype, copy=False).reshape(shape)
            for (name, part, shape), dtype in zip(self.parts, dtypes, strict=True)
        }
        with np.errstate(all="ignore"):
            value = np.asarray(self.f(arrays))
        kinds, wanted = ("c", "complex") if point.dtype.kind == "c" else ("fiu", "real")
        if value.shape != () or value.dtype.kind not in kinds:
            raise ValueError(
                f"f must return a {wanted} scalar for {wanted} parameters, "
                f"got {value.dtype} of shape {value.shape}"
            )
        return (value if value.dtype.kind in "fc" else value.astype(np.float64))[()]

    def __call__(self, point: Vector) -> float:
        return float(self.evaluate(point, self.dtypes))

    def _measure_noise(self, own: list[Any], rng: np.random.Generator) -> None:
        """Measure what rounding does to a value of f, as evaluated here and in the own dtypes."""

        def shift(scale: float) -> Vector:
            return scale * self.unit * rng.uniform(-1, 1, self.unit.size)

        rough, narrow, sizes, nodes = [], [], [abs(self.value)], _nodes(12)
        for _ in range(5):
            start, v = self.theta + shift(2.0**-12), shift(1.0)  # at θ itself many kinks may meet
            if own != self.dtypes:
                start = start.astype(np.float32).astype(np.float64)
            for scale in 2.0 ** np.array([-22, -19, -16, -13]):
                values = np.array([self(start + scale * x * v) for x in nodes])
                if np.unique(values).size > nodes.size / 2:  # f moves, so its rounding shows
                    break
            if np.all(np.isfinite(values)):
                off = _off_quintic(nodes, values - values[0])
                rough.append(np.sqrt(np.sum(off**2) / (nodes.size - 6)))
                narrow.append(float(self.evaluate(start.copy(), own)) - self(start))
                sizes.append(np.max(np.abs(values)))
        self.noise = float(np.median(rough)) if rough else 0.0
        own_noise = float(np.sqrt(np.mean(np.square(narrow)))) if narrow else 0.0
        size = max(sizes) or 1.0
        self.relative = max(self.eps, self.noise / size)
        self.own_relative = max(self.relative, own_noise / size)
        far = (abs(self(self.theta + shift(1.0))) for _ in range(8))
        self.far = max((value for value in far if math.isfinite(value)), default=0.0)

    def error(self, *values: float) -> float:
        """Bound η, the error of values of f."""
        # log(1 + 1e-20) is 0, and its rounding shows neither in its size nor in its neighbours.
        flat = all(value == self.value for value in values)
        size = max(*map(abs, values), abs(self.value), self.far if flat else 0.0)
        return self.eps * size + 4 * self.noise

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
        return float(self.evaluate(point, [np.complex128] * len(self.parts)).imag) / h


class Differences:
    """Verdicts on a claimed gradient of f, line by line."""

    def __init__(
        self, f: Function, grads: Sequence[NDArray[Any]], rng: np.random.Generator
    ) -> None:
        self.f, self.grads = f, grads
        self.flat = np.concatenate([g.ravel() for g in grads], dtype=np.float64)
        largest = [np.max(np.abs(g), initial=0, where=np.isfinite(g)) for g in grads]
        self.largest = np.repeat(np.array(largest, np.float64), [g.size for g in grads])
        self.eps = max(float(np.finfo(g.dtype).eps) for g in grads)
        self.tiny = max(float(np.finfo(g.dtype).tiny) for g in grads)
        # If f is near 0 only by chance, its relative noise is no guide to a step: hence the bound.
        self.h = float(np.cbrt(max(f.eps, min(f.relative, float(np.finfo(np.float32).eps)))))
        finest = max(f.eps, float(np.finfo(f.grid).eps))
        self.steps = [self.h * 4.0**-k for k in range(-1, int(math.log(self.h / finest, 4)) + 1)]
        self.moved = [
            f.theta * (1 + self.eps * rng.standard_normal(f.theta.size)) for _ in range(8)
        ]

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

    def central(self, line: Line, claimed: float) -> tuple[Verdict, float, float]:
        """Return a verdict, the derivative by central differences, and the tolerance."""
        f = self.f
        wide, before, best = None, math.inf, (math.inf, math.nan)
        for h in self.steps:
            t = f.step(line, h)
            up, down = f.at(line, t), f.at(line, -t)
            C, G = (up - down) / (2 * t), ((up - f.value) - (f.value - down)) / t
            if not math.isfinite(G):
                continue
            if wide is not None:
                r = t / wide[0]
                rounding = 5 * f.error(up, down) / abs(t)
                measured = abs(C - wide[1]) + abs(G - r * wide[2]) / (1 - r) / 2
                E = rounding + measured
                best = min(best, (E, C))
                if 2 * rounding > before:
                    break
                fallen = before >= 2 * E
                before = E
                if fallen and measured <= 20 * rounding:
                    tolerance = E + self._rounding(line, G / t)
                    if abs(claimed - C) <= tolerance:
                        return "agrees", C, tolerance
                    if self._is_smooth(line, 4 * h):
                        if self.eps <= f.relative:
                            return "disagrees", C, tolerance
                        return self._final(claimed, C, tolerance, partial(f.slope, line, t))
                    before = abs(claimed - C)
            wide = (t, C, G)
        return "inconclusive", best[1], best[0]

    def complex_step(self, line: Line, claimed: float) -> tuple[Verdict, float, float]:
        """Return a verdict, the derivative by the complex step, and the tolerance."""
        f, t = self.f, self.h * line.reach
        up, down = (f.complex_slope(line, h, f.theta) for h in (_IMAGINARY, -_IMAGINARY))
        beside = f.theta.copy()
        beside[line.where] += t * line.v
        curvature = (f.complex_slope(line, _IMAGINARY, beside) - up) / t
        tolerance = self._rounding(line, curvature)
        if abs(up - down) > tolerance:
            return "inconclusive", (up + down) / 2, tolerance
        if abs(claimed - up) <= tolerance:
            return "agrees", up, tolerance
        return self._final(claimed, up, tolerance, partial(f.complex_slope, line, _IMAGINARY))

    def _rounding(self, line: Line, curvature: float) -> float:
        """Bound the rounding of a claim by the sizes of the terms it may be a sum of."""
        size = abs(self.f.value)
        terms = float(np.linalg.norm(self.largest[line.where] * line.v))
        relative = float(np.max(np.abs(line.v / self.f.unit[line.where])))
        terms += math.sqrt(2 * size * abs(curvature)) + size * relative
        return 64 * (max(self.eps, self.f.own_relative) * terms + self.tiny)

    def _is_smooth(self, line: Line, h: float) -> bool:
        """Tell whether values from -h to h lie on a polynomial of degree 5, but for rounding."""
        t = np.array([self.f.step(line, h * x) for x in _nodes(25)])
        values = np.array([self.f.at(line, step) for step in t])
        if not np.all(np.isfinite(values)):
            return False
        off = _off_quintic(t, values - self.f.value)
        return bool(np.max(np.abs(off)) <= 2 * self.f.error(*values))

    def _final(
        self, claimed: float, numeric: float, tolerance: float, slope: Callable[[Vector], float]
    ) -> tuple[Verdict, float, float]:
        """Decide after granting the change of the slope when all parameters move by rounding."""
        here = slope(self.f.theta)
        tolerance += 4 * max(abs(slope(base) - here) for base in self.moved)
        return "agrees" if abs(claimed - numeric) <= tolerance else "disagrees", numeric, tolerance
