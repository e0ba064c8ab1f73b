"""Findings that no training gave: any losses and accuracies, for the sentences of the page."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from purenet import Config
from purenet.reproduction.experiments import InitialLosses, Race, initial_losses, race
from purenet.reproduction.findings import Findings, compute
from purenet.reproduction.gradient_noise import GradientNoise, measure_noise
from purenet.reproduction.plan import Plan
from purenet.reproduction.published import EXPERIMENTS
from purenet.reproduction.questions import Point, Trajectory, train_in_parts
from purenet.reproduction.trainings import RunResult, Score, train_and_test

__all__ = ["World", "invent"]

IMAGES = 60_000


@dataclass(frozen=True)
class World:
    """How invented results differ from the printed ones."""

    seed: int = 0
    factors: tuple[float, float, float] = (1.0, 1.0, 1.0)  # loss / printed loss, by experiment
    spread: float = 0.0  # standard deviation of the logarithm of every loss
    accuracy_spread: float = 0.0  # standard deviation of every accuracy


def invent(plan: Plan, world: World) -> Findings:
    """Return the findings of a plan in an invented world."""

    def do(unit: Any, **settings: Any) -> Any:
        rng = np.random.default_rng([world.seed, zlib.crc32(repr(settings).encode())])
        return INVENTORS[unit](rng, world, **settings)

    return compute(do, plan, IMAGES)


def _run(
    rng: np.random.Generator, world: World, *, cfg: Config, model: str | None = None, **_: Any
) -> RunResult:
    """Invent a run, or its part after epoch `model`, near what its experiment prints."""
    number = 3 if cfg.batch_size is None else 1 if cfg.momentum else 2
    printed = EXPERIMENTS[number - 1]
    epochs = range(int(model or 0), cfg.epochs)
    scales = world.factors[number - 1] * np.exp(world.spread * rng.normal(size=len(epochs)))
    losses = [float(printed.losses.get(k, 1.0) * s) for k, s in zip(epochs, scales, strict=True)]
    test, train = np.clip(printed.accuracy + world.accuracy_spread * rng.normal(size=2), 0, 1)
    return RunResult(
        losses,
        penalties=(0.1 * rng.uniform(size=len(epochs)) * losses).tolist(),
        seconds=[0.1] * len(epochs),
        tests=[Score(cfg.epochs, losses[-1], float(test))],
        train_accuracy=float(train),
        model=str(cfg.epochs),
    )


def _race(rng: np.random.Generator, _: World, *, cfg: Config, dtype: str, epochs: int) -> Race:
    seconds = {name: float(rng.uniform(0.1, 10)) for name in ("plain", dtype, "float64")}
    return Race(
        {name: [time] * epochs for name, time in seconds.items()},
        {name: [1.0] * epochs for name in seconds},
        shares={name: t / seconds["plain"] for name, t in seconds.items() if name != "plain"},
        whole={name: time * cfg.epochs for name, time in seconds.items()},
        difference=1e-15,
    )


def _initial_losses(rng: np.random.Generator, _: World, *, seeds: int, **__: Any) -> InitialLosses:
    bare = 2.3 + 0.01 * rng.normal(size=seeds)
    return InitialLosses((bare + rng.uniform(0, 0.1)).tolist(), bare.tolist())


def _train_in_parts(
    rng: np.random.Generator, _: World, *, cfg: Config, stops: list[int], **__: Any
) -> Trajectory:
    accuracies = np.sort(rng.uniform(0.8, 1, len(stops))).tolist()
    size = cfg.batch_size or IMAGES
    return Trajectory(
        [
            Point(stop / IMAGES, stop // size, stop * 1e-5, float(rng.uniform(0.1, 1)), accuracy)
            for stop, accuracy in zip(stops, accuracies, strict=True)
        ]
    )


def _measure_noise(
    _: np.random.Generator, __: World, *, cfg: Config, sizes: list[int], **___: Any
) -> GradientNoise:
    variances, batches = [1 / n for n in sizes], [8] * len(sizes)
    return GradientNoise(
        cfg.epochs, IMAGES, sizes, variances, batches, 1.0, 1.0, slope=-1.0, off=0.1, scale=1.0
    )


INVENTORS: dict[Any, Any] = {
    train_and_test: _run,
    race: _race,
    initial_losses: _initial_losses,
    train_in_parts: _train_in_parts,
    measure_noise: _measure_noise,
}
