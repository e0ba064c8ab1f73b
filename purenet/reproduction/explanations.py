"""Two explanations of the printed losses of experiments 1 and 2, which are higher than ours.

Either the report divides the sum of an epoch's batch losses by the batch size instead of the number
of batches, or it trains on fewer images with another learning rate.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from purenet.reproduction.experiments import ExperimentResult, Variant
from purenet.reproduction.plan import Plan
from purenet.reproduction.published import EXPERIMENTS
from purenet.reproduction.trainings import (
    MeanStd,
    Repeats,
    RunResult,
    SeedCount,
    compare_seeds,
    mean_std,
    misfit,
    root_mean_square,
    summarise,
    train_and_test,
)
from purenet.reproduction.work import DoUnit


@dataclass(frozen=True)
class DivisorFit:
    """The losses of an experiment with another divisor. Nothing is fitted."""

    number: int  # of the experiment
    changes: Mapping[str, Any]  # to its Config; none for the experiment itself
    factor: float  # number of batches / batch size
    scaled: list[float]  # sum of the batch losses / batch size, of each epoch
    misfit: float  # of the scaled losses
    misfit_of_mean: float  # of the mean batch losses
    largest: float  # the largest |scaled loss / printed loss - 1|
    best_factor: float  # the constant that would fit best


def fit_divisor(
    number: int, changes: Mapping[str, Any], losses: list[float], images: int
) -> DivisorFit:
    """Compare mean batch losses, as they are and scaled, with the printed losses."""
    e = EXPERIMENTS[number - 1]
    size = e.config.batch_size or images
    factor = math.ceil(images / size) / size
    scaled = [factor * loss for loss in losses]
    printed = [*e.losses.values()]
    return DivisorFit(
        number,
        changes,
        factor,
        scaled,
        misfit=misfit(scaled, printed),
        misfit_of_mean=misfit(losses, printed),
        largest=max(abs(a / b - 1) for a, b in zip(scaled, printed, strict=True)),
        best_factor=math.exp(np.mean(np.log(printed) - np.log(losses))),
    )


@dataclass(frozen=True)
class SubsetTrial:
    """A setting of the grid: the first `num` images and a learning rate, with seed 0."""

    number: int  # of the experiment
    num: int
    rate: float
    misfit: float | None  # None if the training diverged


@dataclass(frozen=True)
class SubsetFit:
    """A setting that fits best, with all seeds."""

    number: int
    num: int
    rate: float
    repeats: Repeats
    misfit: MeanStd


@dataclass(frozen=True)
class Subset:
    """The explanation by a subset. Each list has experiment 1 before experiment 2."""

    grid: list[SubsetTrial]
    best: list[SubsetFit]  # the setting that fits the experiment best
    joint: list[SubsetFit]  # the one setting that fits both best
    misfit: float  # of the joint setting over both experiments, with seed 0
    at_edge: bool  # whether a neighbour of the joint setting is not in the grid


def run_subset(do: DoUnit, plan: Plan, seeds: int) -> Subset:
    """Fit num and η to the printed losses of experiments 1 and 2."""

    def run(number: int, num: int, rate: float, seed: int = 0) -> RunResult:
        cfg = replace(EXPERIMENTS[number - 1].config, learning_rate=rate, seed=seed)
        return do(train_and_test, cfg=cfg, dtype=plan.dtype, num=num, test_every=cfg.epochs)

    settings = list(product(plan.nums, plan.rates))
    misfits: dict[tuple[int, int, float], float] = {}
    for number, (num, rate) in product((1, 2), settings):
        first = run(number, num, rate)
        fit = misfit_of_run(number, first) if first.diverged is None else math.inf
        misfits[number, num, rate] = fit

    def overall(setting: tuple[int, float], *numbers: int) -> float:
        return root_mean_square([misfits[number, *setting] for number in numbers])

    def with_all_seeds(number: int, num: int, rate: float) -> SubsetFit:
        runs = [run(number, num, rate, seed) for seed in range(seeds)]
        fits = [misfit_of_run(number, run) for run in runs]
        return SubsetFit(number, num, rate, summarise(runs), mean_std(fits))

    joint = min(settings, key=lambda setting: overall(setting, 1, 2))
    best = [min(settings, key=lambda setting: overall(setting, n)) for n in (1, 2)]
    return Subset(
        [SubsetTrial(*k, None if fit == math.inf else fit) for k, fit in misfits.items()],
        best=[with_all_seeds(number, *best[number - 1]) for number in (1, 2)],
        joint=[with_all_seeds(number, *joint) for number in (1, 2)],
        misfit=overall(joint, 1, 2),
        at_edge=joint[0] in (plan.nums[0], plan.nums[-1])
        or joint[1] in (plan.rates[0], plan.rates[-1]),
    )


def misfit_of_run(number: int, run: RunResult, factor: float = 1.0) -> float:
    """Compute the misfit of a run's losses times a factor to those that an experiment prints."""
    return misfit(
        [factor * loss for loss in run.losses], [*EXPERIMENTS[number - 1].losses.values()]
    )


@dataclass(frozen=True)
class Times:
    """Times of an image in experiment 2, as multiples of that of an image in experiment 3."""

    printed: float  # if experiment 2 had all images
    printed_subset: float  # if it had those of the joint subset
    plain: float  # of the plain algorithm here, with all images

    @property
    def favour_all_images(self) -> bool:
        """Whether the plain algorithm's is nearer to that of all images than of the subset."""
        all_images, subset = (math.log(t / self.plain) for t in (self.printed, self.printed_subset))
        return abs(all_images) < abs(subset)


@dataclass(frozen=True)
class Explanations:
    """Both explanations, and how they compare."""

    divisor: list[DivisorFit]  # experiments 1 and 2, then the variants
    choices: list[SeedCount]  # for each variant; better: than the experiment, with this divisor
    subset: Subset
    divisor_misfit: float  # over experiments 1 and 2, as is the misfit of the joint subset
    divisor_largest: float  # the largest relative difference from the printed losses of both
    divisor_or_subset: SeedCount  # better: the divisor's misfit over both experiments is smaller
    accuracy_off: float  # largest difference from the printed accuracies of experiments 1 and 2
    subset_accuracy_off: float  # the same for the joint subset
    times: Times


def explain(
    do: DoUnit, plan: Plan, results: list[ExperimentResult], variants: list[Variant], images: int
) -> Explanations:
    """Apply the other divisor, train on subsets, and compare both explanations."""
    mini = results[:2]
    own = [fit_divisor(e.report.number, {}, e.repeats.median_losses, images) for e in mini]
    others = [fit_divisor(v.number, v.changes, v.repeats.median_losses, images) for v in variants]
    subset = run_subset(do, plan, len(mini[0].repeats.runs))

    def scaled_misfits(number: int, repeats: Repeats) -> list[float]:
        return [misfit_of_run(number, run, own[number - 1].factor) for run in repeats.runs]

    def over_both(first: list[float], second: list[float]) -> list[float]:
        return [root_mean_square(pair) for pair in zip(first, second, strict=True)]

    def accuracy_off(repeats: list[Repeats]) -> float:
        pairs = zip(repeats, mini, strict=True)
        return max(abs(r.test_accuracy.mean - e.report.accuracy) for r, e in pairs)

    misfits = [scaled_misfits(e.report.number, e.repeats) for e in mini]
    subset_misfits = [
        [misfit_of_run(fit.number, run) for run in fit.repeats.runs] for fit in subset.joint
    ]
    _, second, third = (e.report.seconds / e.report.config.epochs for e in results)
    _, plain_second, plain_third = (e.race.whole["plain"] / e.report.config.epochs for e in results)
    return Explanations(
        own + others,
        [
            compare_seeds(scaled_misfits(v.number, v.repeats), misfits[v.number - 1])
            for v in variants
        ],
        subset,
        divisor_misfit=root_mean_square([fit.misfit for fit in own]),
        divisor_largest=max(fit.largest for fit in own),
        divisor_or_subset=compare_seeds(over_both(*misfits), over_both(*subset_misfits)),
        accuracy_off=accuracy_off([e.repeats for e in mini]),
        subset_accuracy_off=accuracy_off([fit.repeats for fit in subset.joint]),
        times=Times(
            second / third,
            second / third * images / subset.joint[0].num,
            plain_second / plain_third,
        ),
    )
