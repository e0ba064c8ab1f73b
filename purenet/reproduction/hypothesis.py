"""Two ways to explain the printed losses of experiments 1 and 2.

Either fewer images and another learning rate were used, or the sum of an epoch's batch losses was
divided by the size of a batch instead of the number of batches.
"""

import math
from collections.abc import Iterable
from typing import Any

from purenet.reproduction.experiments import EXPERIMENTS, Plan, settings
from purenet.reproduction.runs import mean_and_spread, training, typical
from purenet.reproduction.work import Work

__all__ = ["divisor", "misfit", "subset"]


def misfit(losses: Iterable[float], printed: Iterable[float]) -> float:
    """Compute the root mean square of log(loss / printed): 0.1 is about 10 % off.

    Parameters
    ----------
    losses, printed : iterable of float
        Of the same epochs.

    Returns
    -------
    float
        At least 0; 0 is a perfect fit.

    Examples
    --------
    >>> misfit([1.0, 2.0], [1.0, 2.0])
    0.0
    """
    logs = [math.log(a / b) for a, b in zip(losses, printed, strict=True)]
    return math.sqrt(sum(log * log for log in logs) / len(logs))


def divisor(
    experiments: list[dict[str, Any]], variants: list[dict[str, Any]], images: int
) -> list[dict[str, Any]]:
    """Try another divisor: Σ over batches / batch size. Nothing is fitted.

    Parameters
    ----------
    experiments, variants : list of dict
        What `runs.experiments` and `runs.variants` returned.
    images : int
        In the training set.

    Returns
    -------
    list of dict
        For experiments 1 and 2, and for each variant in ``changes``: the ``factor`` batches /
        batch size, the ``misfit`` with it and ``without`` it, and the constant that would fit
        best.
    """
    cases: list[tuple[int, Any, list[float]]] = [
        (e["number"], {}, e["typical"]) for e in experiments[:2]
    ]
    cases += [(v["experiment"], v["changes"], v["other"]["losses"]) for v in variants]
    rows = []
    for number, changes, losses in cases:
        e = EXPERIMENTS[number - 1]
        size = e.config.batch_size or images
        factor = math.ceil(images / size) / size
        printed = list(e.losses.values())[: len(losses)]
        logs = [math.log(p / loss) for loss, p in zip(losses, printed, strict=True)]
        rows.append(
            {
                "experiment": number,
                "changes": changes,
                "epochs": len(printed),
                "factor": factor,
                "misfit": misfit([factor * loss for loss in losses], printed),
                "without": misfit(losses, printed),
                "best_factor": math.exp(sum(logs) / len(logs)),
            }
        )
    return rows


def subset(work: Work, plan: Plan) -> dict[str, Any]:
    """Fit (num, η) of experiments 1 and 2 to their printed losses.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run: the grid with the first seed, the best points with all.

    Returns
    -------
    dict
        ``grid`` of all points; ``best`` of each experiment, and ``joint``, the one setting that
        fits both best.
    """
    grid = [
        _point(work, plan, number, num, rate, 0)
        for number in (1, 2)
        for num in plan.nums
        for rate in plan.rates
    ]
    fitted = [point for point in grid if point["misfit"] is not None]
    best = [
        min((p for p in fitted if p["experiment"] == number), key=lambda p: p["misfit"])
        for number in (1, 2)
    ]
    # Both curves have ten points: the misfit of all twenty is that of the mean of the squares.
    squares: dict[tuple[int, float], list[float]] = {}
    for p in fitted:
        squares.setdefault((p["num"], p["rate"]), []).append(p["misfit"] ** 2)
    joint = min((k for k, v in squares.items() if len(v) == 2), key=lambda k: sum(squares[k]))
    both = [_seeds(work, plan, number, *joint) for number in (1, 2)]
    return {
        "grid": grid,
        "best": [_seeds(work, plan, p["experiment"], p["num"], p["rate"]) for p in best],
        "joint": {
            "num": joint[0],
            "rate": joint[1],
            "misfit": math.sqrt(sum(squares[joint]) / 2),
            "experiments": both,
        },
    }


def _seeds(work: Work, plan: Plan, number: int, num: int, rate: float) -> dict[str, Any]:
    """Run one point of the grid with all seeds."""
    points = [_point(work, plan, number, num, rate, seed) for seed in range(plan.seeds)]
    summary = {
        name: mean_and_spread(p[name] for p in points)
        for name in ("misfit", "train_accuracy", "test_accuracy")
    }
    losses = typical(points)
    return {"experiment": number, "num": num, "rate": rate, "losses": losses, **summary}


def _point(work: Work, plan: Plan, number: int, num: int, rate: float, seed: int) -> dict[str, Any]:
    experiment = EXPERIMENTS[number - 1]
    run = work(
        training,
        config=settings(experiment.config, learning_rate=rate, seed=seed),
        dtype=plan.dtype,
        num=num,
        every=experiment.config.epochs,
    )
    whole = run["diverged"] is None
    return {
        "experiment": number,
        "num": num,
        "rate": rate,
        "losses": run["losses"],
        "misfit": misfit(run["losses"], experiment.losses.values()) if whole else None,
        "train_accuracy": run["train_accuracy"],
        "test_accuracy": run["tests"][-1][2] if whole else None,
    }
