"""The three experiments as units of work, and the plain algorithm side by side with purenet."""

import math
import time
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

import purenet
from purenet import Config, DivergenceError
from purenet.files import checkpoints
from purenet.params import Params
from purenet.reproduction import plain
from purenet.reproduction.experiments import (
    AMBIGUITIES,
    EXPERIMENTS,
    Experiment,
    Plan,
    network,
    settings,
)
from purenet.reproduction.work import Work

__all__ = [
    "experiments",
    "initial_losses",
    "mean_and_spread",
    "race",
    "training",
    "typical",
    "variants",
]

SEGMENT = 100  # iterations of full batch in one unit, so that an interruption costs little
PAUSE = 0.2  # seconds between turns: threads of BLAS spin for a tenth of one after a product
EVERY = 20  # iterations of full batch between two tests


def experiments(work: Work, plan: Plan) -> list[dict[str, Any]]:
    """Run the three experiments over all seeds.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run.

    Returns
    -------
    list of dict
        For each experiment its printed figures, ``runs``, ``race`` and their summaries.
    """
    results = []
    for e in EXPERIMENTS:
        mini = e.config.batch_size is not None
        epochs = e.config.epochs if mini else plan.iterations
        runs = [
            _run(work, e, seed, plan.dtype, epochs)
            for seed in range(plan.mini_seeds if mini else plan.seeds)
        ]
        raced = work(
            race,
            config=settings(e.config),
            dtype=plan.dtype,
            epochs=plan.race_epochs if mini else plan.race_iterations,
        )
        printed = {k: loss for k, loss in e.losses.items() if k < epochs}
        results.append(
            {
                "number": e.number,
                "title": e.title,
                "unit": e.unit,
                "epochs": epochs,
                "asked": e.config.epochs,
                "printed": {
                    "losses": {str(k): loss for k, loss in e.losses.items()},
                    "accuracy": e.accuracy,
                    "seconds": e.seconds,
                },
                "config": settings(e.config),
                "runs": runs,
                "typical": typical(runs),
                "race": raced,
                "losses": {
                    str(k): mean_and_spread(run["losses"][k] for run in runs) for k in printed
                },
                "without_penalty": {
                    str(k): mean_and_spread(run["losses"][k] - run["penalties"][k] for run in runs)
                    for k in printed
                },
                "test_accuracy": mean_and_spread(run["tests"][-1][2] for run in runs),
                "train_accuracy": mean_and_spread(run["train_accuracy"] for run in runs),
                "seconds": mean_and_spread(sum(run["seconds"]) for run in runs),
            }
        )
    return results


def _run(work: Work, e: Experiment, seed: int, dtype: str, epochs: int) -> dict[str, Any]:
    """Run an experiment with one seed, full batch in segments; return all of it as one unit."""
    mini = e.config.batch_size is not None
    whole: dict[str, Any] = {"seed": seed, "model": None}
    for start in range(0, epochs, epochs if mini else SEGMENT):
        stop = epochs if mini else min(start + SEGMENT, epochs)
        part = work(
            training,
            config=settings(e.config, seed=seed, epochs=stop),
            dtype=dtype,
            start=start,
            model=whole["model"],
            every=1 if mini else EVERY,
            keep=True,
        )
        for name, value in part.items():
            whole[name] = whole.get(name, []) + value if isinstance(value, list) else value
    return whole


def training(
    work: Work,
    *,
    config: dict[str, Any],
    dtype: str,
    num: int | None = None,
    start: int = 0,
    model: str | None = None,
    every: int = 1,
    keep: bool = False,
) -> dict[str, Any]:
    """Train the report's network.

    Parameters
    ----------
    work : Work
        Where the data is, and the network to go on from.
    config : dict
        Fields of `Config`; its seed is that of the weights too.
    dtype : str
        Precision.
    num : int, optional
        Train on the first images only.
    start, model : int, str
        Epochs that are done, and the file of the network they gave.
    every : int
        Epochs between two tests.
    keep : bool
        Whether the network is kept.

    Returns
    -------
    dict
        For each epoch ``losses`` (before each update), ``penalties`` (their part ½ l2 Σ‖W‖², as
        the epoch starts) and ``seconds``; ``tests`` of (epochs, loss, accuracy); accuracy on the
        training set; ``diverged``, the epoch that was not finite, or None.
    """
    cfg = Config(**config)
    data = work.train[0][:num], work.train[1][:num]
    params, state = network(cfg.seed, dtype), None
    if model is not None:
        params, _, state, *_ = checkpoints.load(work.folder / model)
    records = purenet.epochs(params, data, cfg, state=state)
    warm_up(work, params, cfg)
    result: dict[str, Any] = {"losses": [], "penalties": [], "seconds": [], "tests": []}
    diverged = None
    for e in range(start + 1, cfg.epochs + 1):
        began = time.perf_counter()
        try:
            record = next(records)
        except DivergenceError as error:
            diverged = error.epoch
            break
        result["seconds"].append(time.perf_counter() - began)
        result["penalties"].append(_penalty(params, cfg))
        result["losses"].append(record.loss)
        params, state = record.params, record.state
        if e % every == 0 or e == cfg.epochs:
            test = purenet.evaluate(params, work.test, l2=cfg.l2, input_scale=cfg.input_scale)
            if not math.isfinite(test.loss):
                diverged = e
                break
            result["tests"].append([e, *test])
    result["train_accuracy"] = purenet.evaluate(
        params, data, l2=cfg.l2, input_scale=cfg.input_scale
    ).accuracy
    result["diverged"] = diverged
    return result | {"network": (params, state)} if keep else result


def warm_up(work: Work, params: Params, cfg: Config) -> None:
    """Take a step on two images: what is compiled or loaded at first is no part of the times."""
    x, y = work.train
    records = purenet.epochs(params, (x[:2], y[:2]), Config(batch_size=2, epochs=1))
    next(records)
    purenet.evaluate(params, (x[:2], y[:2]), input_scale=cfg.input_scale)


def _penalty(params: Params, cfg: Config) -> float:
    weights = (p for name, p in params.items() if name[0] == "W")
    return 0.5 * cfg.l2 * sum(float(np.sum(np.square(p, dtype=float))) for p in weights)


def race(work: Work, *, config: dict[str, Any], dtype: str, epochs: int) -> dict[str, Any]:
    """Run the plain algorithm and purenet in turns, epoch by epoch, from the same weights.

    Parameters
    ----------
    work : Work
        Where the data is.
    config : dict
        Fields of `Config`.
    dtype : str
        Precision of purenet; float64 is run too.
    epochs : int
        How many each runs.

    Returns
    -------
    dict
        ``seconds`` and ``losses`` of each epoch, by runner; ``plain`` is one.
    """
    cfg = Config(**config)
    (x, y), first = work.train, network(cfg.seed, "float64")
    params, velocity, columns = plain.start(first, x)
    runners: dict[str, Callable[[], float]] = {
        "plain": lambda: plain.epoch(params, velocity, columns, y, cfg)
    }
    for precision in dict.fromkeys((dtype, "float64")):
        own = network(cfg.seed, precision)
        warm_up(work, own, cfg)
        runners[precision] = map(attrgetter("loss"), purenet.epochs(own, (x, y), cfg)).__next__
    result: dict[str, Any] = {"seconds": {}, "losses": {}}
    for _ in range(epochs):
        for name, run in runners.items():
            time.sleep(PAUSE)
            began = time.perf_counter()
            loss = run()
            result["seconds"].setdefault(name, []).append(time.perf_counter() - began)
            result["losses"].setdefault(name, []).append(loss)
    return result


def initial_losses(work: Work, *, dtype: str, seeds: int) -> dict[str, Any]:
    """Take the loss of untrained networks on all training images.

    Parameters
    ----------
    work : Work
        Where the data is.
    dtype : str
        Precision.
    seeds : int
        Number of networks.

    Returns
    -------
    dict
        ``with`` and ``without`` the penalty, a list each.
    """
    cfg = EXPERIMENTS[2].config
    nets = [network(seed, dtype) for seed in range(seeds)]
    losses = [
        purenet.evaluate(params, work.train, l2=cfg.l2, input_scale=cfg.input_scale).loss
        for params in nets
    ]
    penalties = [_penalty(params, cfg) for params in nets]
    return {
        "with": losses,
        "without": [a - b for a, b in zip(losses, penalties, strict=True)],
    }


def variants(work: Work, plan: Plan, done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make the other choice of each ambiguity that is a hyperparameter.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run.
    done : list of dict
        What `experiments` returned.

    Returns
    -------
    list of dict
        For each ambiguity and experiment: losses and test accuracy, as ``chosen`` and with the
        ``other`` choice.
    """
    results = []
    for ambiguity in AMBIGUITIES:
        for number in ambiguity.tried_on:
            changes, epochs = dict(ambiguity.changes), plan.variant_epochs
            config = EXPERIMENTS[number - 1].config
            other = [
                work(
                    training,
                    config=settings(config, seed=seed, epochs=epochs, **changes),
                    dtype=plan.dtype,
                )
                for seed in range(plan.seeds)
            ]
            results.append(
                {
                    "question": ambiguity.question,
                    "experiment": number,
                    "changes": changes,
                    "epochs": epochs,
                    "chosen": _after(done[number - 1]["runs"][: plan.seeds], epochs),
                    "other": _after(other, epochs),
                }
            )
    return results


def _after(runs: list[dict[str, Any]], epochs: int) -> dict[str, Any]:
    return {
        "last_loss": mean_and_spread(run["losses"][epochs - 1] for run in runs),
        "losses": typical(runs, epochs),
        "test_accuracy": mean_and_spread(run["tests"][epochs - 1][2] for run in runs),
    }


def typical(runs: list[dict[str, Any]], epochs: int | None = None) -> list[float]:
    """Return the median over runs of each epoch's loss, which one run's spike does not move.

    Parameters
    ----------
    runs : list of dict
        Each with ``losses``.
    epochs : int, optional
        How many; all by default.

    Returns
    -------
    list of float
        A loss for each epoch.
    """
    medians: list[float] = np.median([run["losses"][:epochs] for run in runs], axis=0).tolist()
    return medians


def mean_and_spread(values: Any) -> dict[str, float | None]:
    """Return the mean, and the standard deviation of a sample of more than one.

    Parameters
    ----------
    values : iterable of float
        A value of each seed.

    Returns
    -------
    dict
        ``mean`` and ``spread``, which is None for a single value.

    Examples
    --------
    >>> mean_and_spread([1.0, 3.0])
    {'mean': 2.0, 'spread': 1.4142135623730951}
    """
    values = list(values)
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": spread}
