"""The report's experiments, the race against the plain algorithm, and the other choices."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import purenet
from purenet.config import Config
from purenet.reproduction import plain
from purenet.reproduction.plan import Plan
from purenet.reproduction.published import AMBIGUITIES, EXPERIMENTS, Experiment, initial_params
from purenet.reproduction.trainings import (
    MeanStd,
    Repeats,
    RunResult,
    SeedCount,
    compare_seeds,
    evaluate_with,
    mean_std,
    misfit,
    penalty,
    summarise,
    train_and_test,
    warm_up,
)
from purenet.reproduction.work import DoUnit, Work

SEGMENT = 100  # iterations of full batch in one unit: an interruption loses at most these
TEST_EVERY = 20  # iterations of full batch between two tests
PAUSE = 0.2  # seconds between turns: after a product, threads of BLAS spin for about 0.1 s
CLOSE = 0.1  # losses within 10 % agree
UNTRAINED = 20  # networks whose loss is computed before training
SPIKE = 2  # a loss above this multiple of the loss of the epoch before is a spike


@dataclass(frozen=True)
class Race:
    """The times and losses of the plain algorithm and of purenet, which took turns.

    The keys are ``plain`` and the precisions of purenet: that of the plan, and float64.
    """

    seconds: dict[str, list[float]]  # of each epoch
    losses: dict[str, list[float]]
    shares: dict[str, float]  # time of purenet / time of the plain algorithm
    whole: dict[str, float]  # sum of the seconds, scaled to all epochs of the experiment
    difference: float  # largest relative difference of the losses of plain and float64


def race(work: Work, *, cfg: Config, dtype: str, epochs: int) -> Race:
    """Run the plain algorithm and purenet in turns, epoch by epoch, from the same weights."""
    x, y = work.train
    params, velocity, columns = plain.start(initial_params(cfg.seed, "float64"), x)
    runners: dict[str, Callable[[], float]] = {
        "plain": lambda: plain.epoch(params, velocity, columns, y, cfg)
    }
    for precision in dict.fromkeys((dtype, "float64")):
        own = initial_params(cfg.seed, precision)
        warm_up(own, work.train, cfg)
        runners[precision] = map(attrgetter("loss"), purenet.epochs(own, (x, y), cfg)).__next__
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    losses: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(epochs):
        for name, run_epoch in runners.items():
            time.sleep(PAUSE)
            began = time.perf_counter()
            loss = run_epoch()
            seconds[name].append(time.perf_counter() - began)
            losses[name].append(loss)
    total = {name: sum(times) for name, times in seconds.items()}
    pairs = zip(losses["plain"], losses["float64"], strict=True)
    return Race(
        seconds,
        losses,
        shares={name: total[name] / total["plain"] for name in runners if name != "plain"},
        whole={name: t / epochs * cfg.epochs for name, t in total.items()},
        difference=max(abs(a / b - 1) for a, b in pairs),
    )


@dataclass(frozen=True)
class ExperimentResult:
    """The results of an experiment, compared with the report.

    The keys of dictionaries are epochs: those whose losses the report prints, as far as they ran.
    """

    report: Experiment
    epochs: int  # epochs that were run
    repeats: Repeats
    race: Race
    losses: dict[int, MeanStd]
    misfit: MeanStd
    misfit_without_penalty: MeanStd
    penalty: SeedCount  # better: the losses fit better with their penalty
    ratios: dict[int, float]  # median loss / printed loss
    trained: list[int]  # the epochs of `ratios` before whose loss the network was trained
    off: list[int]  # epochs whose ratio is not within CLOSE of 1
    largest: float  # the largest |ratio - 1|
    spikes: list[tuple[int, int]]  # seed and epoch
    test_accuracy: SeedCount  # better: it is nearer to the printed accuracy than the training one

    @property
    def verdict(self) -> str:
        """Return whether the losses "agree" or "differ", or "unknown".

        Losses of untrained networks do not tell.
        """
        if self.off:
            return "differ"
        return "agree" if self.trained else "unknown"


def compare_with_report(
    e: Experiment, epochs: int, repeats: Repeats, raced: Race
) -> ExperimentResult:
    """Compare the results of an experiment with those that the report prints."""
    printed = {k: loss for k, loss in e.losses.items() if k < epochs}
    runs, ratios = repeats.runs, {k: repeats.median_losses[k] / loss for k, loss in printed.items()}
    losses = [[run.losses[k] for k in printed] for run in runs]
    bare = [[run.losses[k] - run.penalties[k] for k in printed] for run in runs]
    misfits, misfits_bare = (
        [misfit(of_seed, [*printed.values()]) for of_seed in seeds] for seeds in (losses, bare)
    )
    return ExperimentResult(
        e,
        epochs,
        repeats,
        raced,
        losses=dict(zip(printed, map(mean_std, zip(*losses, strict=True)), strict=True)),
        misfit=mean_std(misfits),
        misfit_without_penalty=mean_std(misfits_bare),
        penalty=compare_seeds(misfits, misfits_bare),
        ratios=ratios,
        trained=[k for k in printed if k > 0 or e.config.batch_size],
        off=[k for k, ratio in ratios.items() if abs(ratio - 1) > CLOSE],
        largest=max(abs(ratio - 1) for ratio in ratios.values()),
        spikes=[
            (seed, k)
            for seed, run in enumerate(runs)
            for k in range(1, len(run.losses))
            if run.losses[k] > SPIKE * run.losses[k - 1]
        ],
        test_accuracy=compare_seeds(
            [abs(run.tests[-1].accuracy - e.accuracy) for run in runs],
            [abs(run.train_accuracy - e.accuracy) for run in runs],
        ),
    )


def run_experiments(do: DoUnit, plan: Plan) -> list[ExperimentResult]:
    """Run the three experiments over all seeds."""
    results = []
    for e in EXPERIMENTS:
        if e.config.batch_size is None:
            epochs, seeds, raced_epochs = plan.iterations, plan.seeds, plan.race_iterations
        else:
            epochs, seeds, raced_epochs = e.config.epochs, plan.mini_seeds, plan.race_epochs
        runs = [
            _run(do, replace(e.config, seed=seed, epochs=epochs), plan.dtype)
            for seed in range(seeds)
        ]
        raced = do(race, cfg=e.config, dtype=plan.dtype, epochs=raced_epochs)
        results.append(compare_with_report(e, epochs, summarise(runs), raced))
    return results


def _run(do: DoUnit, cfg: Config, dtype: str) -> RunResult:
    """Run an experiment with one seed: mini-batches in one unit, full batch in segments."""
    length, test_every = (cfg.epochs, 1) if cfg.batch_size else (SEGMENT, TEST_EVERY)
    parts: list[RunResult] = []
    for start in range(0, cfg.epochs, length):
        part = do(
            train_and_test,
            cfg=replace(cfg, epochs=min(start + length, cfg.epochs)),
            dtype=dtype,
            model=parts[-1].model if parts else None,
            test_every=test_every,
            save=True,
        )
        parts.append(part)
    joined: dict[str, Any] = {
        name: [value for part in parts for value in getattr(part, name)]
        for name in ("losses", "penalties", "seconds", "tests")
    }
    return replace(parts[-1], **joined)


@dataclass(frozen=True)
class InitialLosses:
    """Losses of untrained networks on all training images, by seed."""

    with_penalty: list[float]
    without_penalty: list[float]


def initial_losses(work: Work, *, dtype: str, seeds: int) -> InitialLosses:
    """Compute the losses of untrained networks on all training images."""
    cfg = EXPERIMENTS[2].config
    networks = [initial_params(seed, dtype) for seed in range(seeds)]
    losses = [evaluate_with(cfg, params, work.train).loss for params in networks]
    penalties = [penalty(params, cfg) for params in networks]
    return InitialLosses(losses, [a - b for a, b in zip(losses, penalties, strict=True)])


@dataclass(frozen=True)
class Variant:
    """An experiment with the other choice of an ambiguity."""

    number: int  # of the experiment
    changes: Mapping[str, Any]  # to its Config
    repeats: Repeats


def run_variants(do: DoUnit, plan: Plan, results: list[ExperimentResult]) -> list[Variant]:
    """Run the other choice of each ambiguity that is a hyperparameter.

    It runs with the epochs and the seeds of the experiment, so that the two can be compared.
    """
    variants = []
    for ambiguity in AMBIGUITIES:
        for number in ambiguity.tried_on:
            e = results[number - 1]
            cfg = replace(e.report.config, epochs=e.epochs, **ambiguity.changes)
            runs = [
                do(train_and_test, cfg=replace(cfg, seed=seed), dtype=plan.dtype)
                for seed in range(len(e.repeats.runs))
            ]
            variants.append(Variant(number, ambiguity.changes, summarise(runs)))
    return variants
