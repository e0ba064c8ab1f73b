"""The report's two questions: full batch or mini-batches, and momentum or none."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

import purenet
from purenet import Config, DivergenceError, State
from purenet.reproduction.plan import Plan
from purenet.reproduction.published import EXPERIMENTS, initial_params
from purenet.reproduction.trainings import (
    MeanStd,
    Repeats,
    RunResult,
    evaluate_with,
    summarise,
    train_and_test,
    warm_up,
)
from purenet.reproduction.work import DoUnit, Work
from purenet.training import epoch_order

PROBE = 10_000  # training images on which the training loss between epochs is computed
GOAL = 0.95  # test accuracy; the page compares how soon each batch size reaches it
SHUFFLED = replace(EXPERIMENTS[1].config, shuffle=True)  # the theory assumes random mini-batches


@dataclass(frozen=True)
class RateSearch:
    """A search for the learning rate with the lowest training loss at the end, with seed 0."""

    losses: dict[float, float | None]  # by learning rate; None where training diverged
    best: float
    at_edge: bool  # whether the best rate is the first or the last: one outside may be better
    largest_stable: float | None  # the largest rate with a loss below 1


def search_rates(losses: dict[float, float | None]) -> RateSearch:
    """Choose a learning rate from losses in the order of the rates."""
    finite = {rate: math.inf if loss is None else loss for rate, loss in losses.items()}
    rates, best = list(losses), min(finite, key=finite.__getitem__)
    stable = max((rate for rate in rates if finite[rate] < 1), default=None)
    return RateSearch(losses, best, best in (rates[0], rates[-1]), stable)


@dataclass(frozen=True)
class Point:
    """The cost of a training up to a test, and the results, which are None if it diverged."""

    epochs: float
    updates: int
    seconds: float  # of training
    loss: float | None = None  # on the first training images
    accuracy: float | None = None  # on the test images


@dataclass(frozen=True)
class Trajectory:
    """A training with tests inside epochs. If it diverges, its last point has no results."""

    points: list[Point]


def train_in_parts(work: Work, *, cfg: Config, dtype: str, stops: list[int]) -> Trajectory:
    """Train on shuffled examples, and test the network after these numbers of examples.

    The stops are multiples of the batch size. The epochs and shuffle of `cfg` are ignored.
    """
    (x, y), n = work.train, len(work.train[0])
    size = cfg.batch_size or n
    order = np.concatenate([epoch_order(cfg.seed, e, n) for e in range(math.ceil(stops[-1] / n))])
    part_cfg = replace(cfg, epochs=1, shuffle=False, batch_size=size)
    params = initial_params(cfg.seed, dtype)
    velocity = purenet.init_velocity(params)
    warm_up(params, work.train, cfg)
    points: list[Point] = []
    seconds, seen = 0.0, 0
    for stop in stops:
        rows = order[seen:stop]
        part, record = (x[rows], y[rows]), None
        began = time.perf_counter()
        with suppress(DivergenceError):
            record = next(purenet.epochs(params, part, part_cfg, state=State(velocity, 0)))
        seconds += time.perf_counter() - began
        points.append(Point(stop / n, stop // size, seconds))
        if record is None:
            break
        params, velocity, seen = record.params, record.state.velocity, stop
        loss = evaluate_with(cfg, params, (x[:PROBE], y[:PROBE])).loss
        if not math.isfinite(loss):
            break
        accuracy = evaluate_with(cfg, params, work.test).accuracy
        points[-1] = replace(points[-1], loss=loss, accuracy=accuracy)
    return Trajectory(points)


def stops_for_tests(n: int, size: int, plan: Plan) -> list[int]:
    """Return the examples before each test: about n/64, n/32, ..., n, 2n, ..., in whole batches."""
    most = max(plan.batch_epochs * n // size, plan.least_updates)
    limit = size * min(most, plan.most_updates)
    stops = [n >> k for k in range(7)] + [n * e for e in range(2, limit // n + 1)] + [limit]
    return sorted({min(math.ceil(stop / size) * size, limit) for stop in stops})


@dataclass(frozen=True)
class BatchSizeRow:
    """A batch size at its best learning rate."""

    batch_size: int
    rates: RateSearch
    points: list[Point]  # those with a loss
    last: Point | None
    at_goal: Point | None  # the first whose test accuracy reaches GOAL


def run_batch_sizes(do: DoUnit, plan: Plan, images: int) -> list[BatchSizeRow]:
    """Compare batch sizes, each at its best learning rate, with seed 0."""
    rows = []
    for size in [size or images for size in plan.batch_sizes]:
        trajectories = {
            rate: do(
                train_in_parts,
                cfg=replace(SHUFFLED, batch_size=size, learning_rate=rate),
                dtype=plan.dtype,
                stops=stops_for_tests(images, size, plan),
            )
            for rate in plan.batch_rates
        }
        rates = search_rates({rate: t.points[-1].loss for rate, t in trajectories.items()})
        points = [p for p in trajectories[rates.best].points if p.loss is not None]
        at_goal = next((p for p in points if p.accuracy and p.accuracy >= GOAL), None)
        last = points[-1] if points else None
        rows.append(BatchSizeRow(size, rates, points, last, at_goal))
    return rows


@dataclass(frozen=True)
class MomentumRow:
    """A momentum β at its best learning rate."""

    momentum: float
    rates: RateSearch
    repeats: Repeats


@dataclass(frozen=True)
class Comparison:
    """A difference of two means, judged by its standard error."""

    difference: float
    error: float | None  # None for one seed
    verdict: str  # "better", "worse", "the same" or "unknown"


def compare_means(a: MeanStd, b: MeanStd, seeds: int, *, higher_is_better: bool) -> Comparison:
    """Judge whether a is better or worse than b by more than two standard errors."""
    difference = a.mean - b.mean
    if a.std is None or b.std is None:
        return Comparison(difference, None, "unknown")
    error = math.sqrt((a.std**2 + b.std**2) / seeds)
    if abs(difference) <= 2 * error:
        return Comparison(difference, error, "the same")
    better = (difference > 0) == higher_is_better
    return Comparison(difference, error, "better" if better else "worse")


@dataclass(frozen=True)
class Momenta:
    """All momenta, and the comparison of the best one with none."""

    rows: list[MomentumRow]
    without: MomentumRow
    best: MomentumRow
    first_loss: Comparison
    last_loss: Comparison
    test_accuracy: Comparison


def compare_momenta(rows: list[MomentumRow]) -> Momenta:
    """Compare the momentum with the lowest last loss with none."""
    without = next(row for row in rows if row.momentum == 0)
    best = min((row for row in rows if row.momentum), key=attrgetter("repeats.last_loss.mean"))
    a, b, seeds = best.repeats, without.repeats, len(best.repeats.runs)
    return Momenta(
        rows,
        without,
        best,
        first_loss=compare_means(a.first_loss, b.first_loss, seeds, higher_is_better=False),
        last_loss=compare_means(a.last_loss, b.last_loss, seeds, higher_is_better=False),
        test_accuracy=compare_means(a.test_accuracy, b.test_accuracy, seeds, higher_is_better=True),
    )


def run_momenta(do: DoUnit, plan: Plan) -> Momenta:
    """Compare momenta over all seeds, each at its best learning rate."""

    def run(beta: float, rate: float, seed: int = 0) -> RunResult:
        cfg = replace(SHUFFLED, momentum=beta, learning_rate=rate, seed=seed)
        return do(train_and_test, cfg=replace(cfg, epochs=plan.momentum_epochs), dtype=plan.dtype)

    rows = []
    for beta in plan.momenta:
        rates = search_rates({rate: run(beta, rate).last_loss for rate in plan.momentum_rates})
        runs = [run(beta, rates.best, seed) for seed in range(plan.seeds)]
        rows.append(MomentumRow(beta, rates, summarise(runs)))
    return compare_momenta(rows)
