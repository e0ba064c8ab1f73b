"""All results of a reproduction, and the number of units that it takes."""

from dataclasses import dataclass
from typing import Any

from purenet.reproduction.experiments import (
    ExperimentResult,
    InitialLosses,
    Variant,
    initial_losses,
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

__all__ = ["compute", "count_units"]


@dataclass(frozen=True)
class Findings:
    """The results of all sections of the page."""

    plan: Plan
    images: int  # number of training images
    experiments: list[ExperimentResult]
    variants: list[Variant]
    initial: InitialLosses
    explanations: Explanations
    batch_sizes: list[BatchSizeRow]
    momenta: Momenta
    noise: list[GradientNoise]


def compute(do: DoUnit, plan: Plan, images: int) -> Findings:
    """Do all units of a plan, section by section.

    Parameters
    ----------
    do : DoUnit
        A `Work`, which does the units or finds them done.
    plan : Plan
        How much is run.
    images : int
        Number of training images.

    Returns
    -------
    Findings
        The results of all sections.
    """
    experiments = run_experiments(do, plan)
    variants = run_variants(do, plan, experiments)
    return Findings(
        plan,
        images,
        experiments,
        variants,
        initial=do(initial_losses, dtype=plan.dtype, seeds=plan.initial_seeds),
        explanations=explain(do, plan, experiments, variants, images),
        batch_sizes=run_batch_sizes(do, plan, images),
        momenta=run_momenta(do, plan),
        noise=run_noise(do, plan, images),
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
        return None  # no section looks at the results of the other units

    compute(pretend, plan, images)
    return count
