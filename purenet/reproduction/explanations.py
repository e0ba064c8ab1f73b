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
    best_factor: float  # the constant that would fit best


def fit_divisor(
    number: int, changes: Mapping[str, Any], losses: list[float], images: int
) -> DivisorFit:
    """Compare mean batch losses, as they are and scaled, with the printed losses."""
    e = EXPERIMENTS[number - 1]
    size = e.config.batch_size or images
    factor = math.ceil(images / size) / size
    scaled = [factor * loss for loss in losses]
    printed = [*e.losses.values()][: len(losses)]
    best = math.exp(np.mean(np.log(printed) - np.log(losses)))
    fits = misfit(scaled, printed), misfit(losses, printed)
    return DivisorFit(number, changes, factor, scaled, *fits, best)


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


def run_subset(do: DoUnit, plan: Plan) -> Subset:
    """Fit num and η to the printed losses of experiments 1 and 2."""

    def run(number: int, num: int, rate: float, seed: int = 0) -> RunResult:
        cfg = replace(EXPERIMENTS[number - 1].config, learning_rate=rate, seed=seed)
        return do(train_and_test, cfg=cfg, dtype=plan.dtype, num=num, test_every=cfg.epochs)

    def misfit_of(number: int, run: RunResult) -> float:
        return misfit(run.losses, [*EXPERIMENTS[number - 1].losses.values()])

    settings = list(product(plan.nums, plan.rates))
    misfits: dict[tuple[int, int, float], float] = {}
    for number, (num, rate) in product((1, 2), settings):
        first = run(number, num, rate)
        fit = misfit_of(number, first) if first.diverged is None else math.inf
        misfits[number, num, rate] = fit

    def overall(setting: tuple[int, float], *numbers: int) -> float:
        return root_mean_square([misfits[number, *setting] for number in numbers])

    def with_all_seeds(number: int, num: int, rate: float) -> SubsetFit:
        runs = [run(number, num, rate, seed) for seed in range(plan.seeds)]
        fits = [misfit_of(number, run) for run in runs]
        return SubsetFit(number, num, rate, summarise(runs), mean_std(fits))

    joint = min(settings, key=lambda setting: overall(setting, 1, 2))
    best = [min(settings, key=lambda setting: overall(setting, n)) for n in (1, 2)]
    return Subset(
        [SubsetTrial(*k, None if fit == math.inf else fit) for k, fit in misfits.items()],
        best=[with_all_seeds(number, *best[number - 1]) for number in (1, 2)],
        joint=[with_all_seeds(number, *joint) for number in (1, 2)],
        misfit=overall(joint, 1, 2),
    )


@dataclass(frozen=True)
class Explanations:
    """Both explanations, and how they compare."""

    divisor: list[DivisorFit]  # experiments 1 and 2, then the variants
    subset: Subset
    divisor_misfit: float  # over experiments 1 and 2, as is the misfit of the joint subset
    better_choices: list[tuple[DivisorFit, DivisorFit]]  # experiment and variant that fits better
    accuracy_off: float  # largest difference from the printed accuracies of experiments 1 and 2
    subset_accuracy_off: float  # the same for the joint subset
    slower: float  # printed time per image of experiment 2 on the subset / that of experiment 3


def explain(
    do: DoUnit, plan: Plan, results: list[ExperimentResult], variants: list[Variant], images: int
) -> Explanations:
    """Apply the other divisor, train on subsets, and compare both explanations."""
    own = [fit_divisor(e.report.number, {}, e.repeats.median_losses, images) for e in results[:2]]
    others = [fit_divisor(v.number, v.changes, v.other.median_losses, images) for v in variants]
    subset = run_subset(do, plan)
    divisor_misfit = root_mean_square([fit.misfit for fit in own])
    _, second, third = (e.report.seconds / e.report.config.epochs for e in results)

    def accuracy_off(repeats: list[Repeats]) -> float:
        printed = [e.report.accuracy for e in results[:2]]
        pairs = zip(repeats, printed, strict=True)
        return max(abs(r.test_accuracy.mean - accuracy) for r, accuracy in pairs)

    return Explanations(
        own + others,
        subset,
        divisor_misfit,
        better_choices=[
            (fit, other)
            for fit, other in product(own, others)
            if other.number == fit.number
            and len(other.scaled) == len(fit.scaled)
            and other.misfit < fit.misfit
        ],
        accuracy_off=accuracy_off([e.repeats for e in results[:2]]),
        subset_accuracy_off=accuracy_off([fit.repeats for fit in subset.joint]),
        slower=second / subset.joint[0].num * images / third,
    )
