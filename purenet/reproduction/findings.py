"""All results of a reproduction, and the number of units that it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from purenet.reproduction.experiments import (
    UNTRAINED,
    ExperimentResult,
    InitialLosses,
    Race,
    Variant,
    initial_losses,
    race,
    run_experiments,
    run_variants,
)
from purenet.reproduction.explanations import Explanations, explain
from purenet.reproduction.gradient_noise import GradientNoise, run_noise
from purenet.reproduction.plan import Plan
from purenet.reproduction.questions import (
    BatchSizeRow,
    Momenta,
    Point,
    Trajectory,
    run_batch_sizes,
    run_momenta,
    train_in_parts,
)
from purenet.reproduction.trainings import RunResult, Score, train_and_test
from purenet.reproduction.work import DoUnit

__all__ = ["PARTS", "compute", "count_units"]

PARTS = {
    "experiments": "the report's three experiments, and a race against the plain algorithm",
    "choices": "experiments 1 and 2 with other choices where the report leaves one open",
    "explanations": "subsets of the images and other learning rates, to explain the printed losses",
    "batch sizes": "batch sizes, each at its best learning rate",
    "momentum": "momenta, each at its best learning rate",
    "noise": "the variance of the gradient of a mini-batch",
}
"""What is run, in this order."""


@dataclass(frozen=True)
class Findings:
    """The results of all parts."""

    plan: Plan
    images: int  # number of training images
    experiments: list[ExperimentResult]
    variants: list[Variant]
    initial: InitialLosses
    explanations: Explanations
    batch_sizes: list[BatchSizeRow]
    momenta: Momenta
    noise: list[GradientNoise]


def compute(
    do: DoUnit, plan: Plan, images: int, *, begin: Callable[[str], object] = lambda _: None
) -> Findings:
    """Do all units of a plan, part by part.

    Parameters
    ----------
    do : DoUnit
        A `Work`, which does the units or finds them done.
    plan : Plan
        How much is run.
    images : int
        Number of training images.
    begin : callable, optional
        Called with the name of each part before its first unit.

    Returns
    -------
    Findings
        The results of all parts.
    """
    begin("experiments")
    experiments = run_experiments(do, plan)
    begin("choices")
    variants = run_variants(do, plan, experiments)
    initial = do(initial_losses, dtype=plan.dtype, seeds=UNTRAINED)
    begin("explanations")
    explanations = explain(do, plan, experiments, variants, images)
    begin("batch sizes")
    batch_sizes = run_batch_sizes(do, plan, images)
    begin("momentum")
    momenta = run_momenta(do, plan)
    begin("noise")
    noise = run_noise(do, plan, images)
    return Findings(
        plan,
        images,
        experiments,
        variants,
        initial,
        explanations,
        batch_sizes,
        momenta,
        noise,
    )


def count_units(plan: Plan, images: int) -> int:
    """Count the units of a plan by a pass of `compute` with made-up results.

    Findings decide which settings are repeated with more seeds, but not how many units there are.

    Parameters
    ----------
    plan : Plan
        How much is run.
    images : int
        Number of training images.

    Returns
    -------
    int
        How often `compute` calls `do`.
    """
    count = 0

    def pretend(unit: Any, *, cfg: Any = None, **_: Any) -> Any:
        nonlocal count
        count += 1
        if unit is train_in_parts:
            return Trajectory([Point(epochs=1, updates=1, seconds=1, loss=1, accuracy=1)])
        if unit is train_and_test:
            n = cfg.epochs
            return RunResult([1.0] * n, [0.0] * n, [1.0] * n, [Score(1, 1, 1)] * n, 1)
        if unit is race:
            return Race({}, {}, shares={}, whole={"plain": 1.0}, difference=0.0)
        return None  # no section looks at the results of the other units

    compute(pretend, plan, images)
    return count
