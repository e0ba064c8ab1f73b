"""Trainings of the report's network, and their summary over seeds."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import purenet
from purenet import Config, DivergenceError, Evaluation
from purenet.files import checkpoints
from purenet.params import Data, Params, layers
from purenet.reproduction.published import initial_params
from purenet.reproduction.work import Work


@dataclass(frozen=True)
class Score:
    """Loss and accuracy on the test images after an epoch."""

    epoch: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class RunResult:
    """The results of one training. The first three lists have one entry for each epoch."""

    losses: list[float]  # mean of the batch losses, each before its update
    penalties: list[float]  # the part ½ l2 Σ‖W‖² of the loss, at the start of the epoch
    seconds: list[float]
    tests: list[Score]
    train_accuracy: float  # at the end
    diverged: int | None = None  # the epoch in which a number stopped being finite
    model: str | None = None  # file name of the network, if it was saved

    @property
    def last_loss(self) -> float | None:
        """Return the loss of the last epoch, or None if the training diverged."""
        return self.losses[-1] if self.diverged is None else None


def train_and_test(
    work: Work,
    *,
    cfg: Config,
    dtype: str,
    num: int | None = None,
    model: str | None = None,
    test_every: int = 1,
    save: bool = False,
) -> RunResult:
    """Train the report's network on the first `num` images.

    The seed of `cfg` is also that of the weights. With a file `model`, training goes on from that
    network, and the results are those of the later epochs. The network is tested after every
    `test_every` epochs and at the end. With `save`, it is saved.
    """
    data = work.train[0][:num], work.train[1][:num]
    params, state = initial_params(cfg.seed, dtype), None
    if model is not None:
        params, _, state, *_ = checkpoints.load(work.folder / model)
    records = purenet.epochs(params, data, cfg, state=state)
    warm_up(params, data, cfg)
    losses, penalties, seconds, tests = [], [], [], []
    epoch, diverged = state.epochs if state else 0, None
    while epoch < cfg.epochs:
        began = time.perf_counter()
        try:
            record = next(records)
        except DivergenceError as error:
            diverged = error.epoch
            break
        seconds.append(time.perf_counter() - began)
        penalties.append(penalty(params, cfg))
        losses.append(record.loss)
        epoch, params, state = record.epoch, record.params, record.state
        if epoch % test_every == 0 or epoch == cfg.epochs:
            test = evaluate_with(cfg, params, work.test)
            if not math.isfinite(test.loss):
                diverged = epoch
                break
            tests.append(Score(epoch, *test))
    train_accuracy = evaluate_with(cfg, params, data).accuracy
    saved = work.save_model(params, cfg, state) if save else None
    return RunResult(losses, penalties, seconds, tests, train_accuracy, diverged, saved)


def warm_up(params: Params, data: Data, cfg: Config) -> None:
    """Train and test on two images, so that no measured time includes compiling or loading."""
    two = data[0][:2], data[1][:2]
    next(purenet.epochs(params, two, Config(batch_size=2, epochs=1)))
    evaluate_with(cfg, params, two)


def evaluate_with(cfg: Config, params: Params, data: Data) -> Evaluation:
    """Compute loss and accuracy with the l2 and the input scale of a configuration."""
    return purenet.evaluate(params, data, l2=cfg.l2, input_scale=cfg.input_scale)


def penalty(params: Params, cfg: Config) -> float:
    """Compute the penalty ½ l2 Σ‖W‖² in float64."""
    squares = (float(np.sum(np.square(W, dtype=float))) for W, _ in layers(params))
    return 0.5 * cfg.l2 * sum(squares)


@dataclass(frozen=True)
class MeanStd:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float | None  # with divisor n - 1; None for one seed


def mean_std(values: Sequence[float]) -> MeanStd:
    """Compute the mean and the sample standard deviation.

    >>> mean_std([1.0, 3.0])
    MeanStd(mean=2.0, std=1.4142135623730951)
    """
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanStd(float(np.mean(values)), std)


@dataclass(frozen=True)
class Repeats:
    """Trainings with equal settings and the seeds 0, 1, ..., none of which diverged."""

    runs: list[RunResult]
    median_losses: list[float]  # of each epoch; a spike in one run does not move the median
    mean_losses: list[float]
    first_loss: MeanStd
    last_loss: MeanStd
    test_accuracy: MeanStd  # at the end
    train_accuracy: MeanStd  # at the end
    seconds: MeanStd  # of all epochs together


def summarise(runs: list[RunResult]) -> Repeats:
    """Summarise trainings over their seeds."""
    losses: Any = [run.losses for run in runs]
    return Repeats(
        runs,
        median_losses=np.median(losses, axis=0).tolist(),
        mean_losses=np.mean(losses, axis=0).tolist(),
        first_loss=mean_std([run.losses[0] for run in runs]),
        last_loss=mean_std([run.losses[-1] for run in runs]),
        test_accuracy=mean_std([run.tests[-1].accuracy for run in runs]),
        train_accuracy=mean_std([run.train_accuracy for run in runs]),
        seconds=mean_std([sum(run.seconds) for run in runs]),
    )


@dataclass(frozen=True)
class SeedCount:
    """The number of seeds for which one thing has a smaller error than another, or a larger one.

    Counts are robust: one run whose loss spikes moves a mean, but counts as one seed.
    """

    better: int
    worse: int
    seeds: int

    @property
    def verdict(self) -> str:
        """Return "better", "worse" or "unknown".

        A verdict needs at least three seeds, and at most one in ten may be against it.
        """
        if self.seeds >= 3:
            for verdict, count in (("better", self.better), ("worse", self.worse)):
                if self.seeds - count <= self.seeds // 10:
                    return verdict
        return "unknown"


def compare_seeds(errors: Sequence[float], others: Sequence[float]) -> SeedCount:
    """Count the seeds for which an error is smaller, or larger, than another with the same seed.

    >>> compare_seeds([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]).verdict
    'better'
    >>> compare_seeds([0.1], [0.2]).verdict
    'unknown'
    """
    pairs = list(zip(errors, others, strict=True))
    return SeedCount(sum(a < b for a, b in pairs), sum(a > b for a, b in pairs), len(pairs))


def misfit(losses: Sequence[float], printed: Sequence[float]) -> float:
    """Compute the root mean square of log(loss / printed): 0.1 means about 10 % off.

    >>> misfit([1.0, 2.0], [1.0, 2.0])
    0.0
    """
    return root_mean_square([math.log(a / b) for a, b in zip(losses, printed, strict=True)])


def root_mean_square(values: Sequence[float]) -> float:
    """Compute √(Σ v² / n)."""
    return math.sqrt(sum(v * v for v in values) / len(values))
