"""What the report asks: full batch or mini-batches, momentum or none; how noisy gradients are."""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np

import purenet
from purenet import Config, DivergenceError, State
from purenet.params import Array, Params
from purenet.reproduction.experiments import EXPERIMENTS, Plan, network, settings
from purenet.reproduction.runs import mean_and_spread, training, warm_up
from purenet.reproduction.work import Work
from purenet.training import epoch_order

__all__ = ["batches", "gradient_noise", "momenta", "noise", "trajectory"]

PROBE = 10_000  # training images on which the loss of a trajectory is taken
# Both questions are asked of mini-batches drawn at random, as the theory has them.
DRAWN = replace(EXPERIMENTS[1].config, shuffle=True)


def batches(work: Work, plan: Plan) -> list[dict[str, Any]]:
    """Compare batch sizes, each at the learning rate that gives it the lowest training loss.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run.

    Returns
    -------
    list of dict
        For each batch size ``batch_size``, ``rate``, ``points`` of the best run, the last
        training ``losses`` by learning rate, None where it diverged, and whether the best lies
        at the edge of the grid.
    """
    n, results = len(work.train[0]), []
    for size in plan.batch_sizes:
        of_rate = {
            rate: work(
                trajectory,
                config=settings(DRAWN, batch_size=size, learning_rate=rate),
                dtype=plan.dtype,
                checkpoints=_checkpoints(n, size or n, plan),
            )["points"]
            for rate in plan.batch_rates
        }
        last = {rate: points[-1]["loss"] for rate, points in of_rate.items()}
        rate = _lowest(last)
        results.append(
            {
                "batch_size": size or n,
                "rate": rate,
                "edge": rate in (plan.batch_rates[0], plan.batch_rates[-1]),
                "losses": {str(r): loss for r, loss in last.items()},
                "points": of_rate[rate],
            }
        )
    return results


def _lowest(losses: dict[float, float | None]) -> float:
    finite = {rate: math.inf if loss is None else loss for rate, loss in losses.items()}
    return min(finite, key=finite.__getitem__)


def _checkpoints(n: int, size: int, plan: Plan) -> list[int]:
    """Return after how many examples a run is tested: 1/64 epoch, 1/32, ..., 1, 2, 3."""
    most = max(plan.batch_epochs * n // size, plan.least_updates)
    limit = size * min(most, plan.most_updates)
    at = [n >> k for k in range(7)] + [n * e for e in range(2, limit // n + 1)] + [limit]
    return sorted({min(-(-a // size) * size, limit) for a in at})


def trajectory(
    work: Work, *, config: dict[str, Any], dtype: str, checkpoints: list[int]
) -> dict[str, Any]:
    """Train, and test within epochs too.

    Parameters
    ----------
    work : Work
        Where the data is.
    config : dict
        Fields of `Config`; epochs and shuffle are not looked at.
    dtype : str
        Precision.
    checkpoints : list of int
        Examples seen when it is tested: multiples of the batch size.

    Returns
    -------
    dict
        ``points``: for each checkpoint ``epochs``, ``updates``, ``seconds`` of training, ``loss``
        on the first training images, and test ``accuracy``. A run that diverges ends with a point
        whose loss is None.
    """
    cfg = Config(**config)
    (x, y), n = work.train, len(work.train[0])
    probe = x[:PROBE], y[:PROBE]
    size = cfg.batch_size or n
    order = np.concatenate([epoch_order(cfg.seed, e, n) for e in range(-(-checkpoints[-1] // n))])
    once = replace(cfg, epochs=1, shuffle=False, batch_size=size)
    params = network(cfg.seed, dtype)
    velocity = purenet.init_velocity(params)
    warm_up(work, params, cfg)
    points: list[dict[str, Any]] = []
    seconds, seen = 0.0, 0
    for stop in checkpoints:
        rows = order[seen:stop]
        part = x[rows], y[rows]
        began = time.perf_counter()
        try:
            record = next(purenet.epochs(params, part, once, state=State(velocity, 0)))
        except DivergenceError:
            record = None
        seconds += time.perf_counter() - began
        point = {"epochs": stop / n, "updates": stop // size, "seconds": seconds}
        loss, accuracy = math.nan, None
        if record is not None:
            params, velocity, seen = record.params, record.state.velocity, stop
            loss, _ = purenet.evaluate(params, probe, l2=cfg.l2, input_scale=cfg.input_scale)
            accuracy = purenet.evaluate(
                params, work.test, l2=cfg.l2, input_scale=cfg.input_scale
            ).accuracy
        if not math.isfinite(loss):
            points.append(point | {"loss": None, "accuracy": None})
            break
        points.append(point | {"loss": loss, "accuracy": accuracy})
    return {"points": points}


def momenta(work: Work, plan: Plan) -> list[dict[str, Any]]:
    """Compare momenta, each at its best learning rate of a grid.

    The rate is the one with the lowest loss in the last epoch of the first seed; the comparison is
    over all seeds.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run.

    Returns
    -------
    list of dict
        For each β ``momentum``, ``rate``, ``losses`` of the grid, ``curve``, the mean losses of
        its epochs, ``first_loss``, ``last_loss`` and ``test_accuracy`` over the seeds.
    """
    results = []
    for beta in plan.momenta:

        def run(rate: float, seed: int, beta: float = beta) -> dict[str, Any]:
            return work(
                training,
                config=settings(
                    DRAWN,
                    momentum=beta,
                    learning_rate=rate,
                    seed=seed,
                    epochs=plan.momentum_epochs,
                ),
                dtype=plan.dtype,
            )

        last = {}
        for rate in plan.momentum_rates:
            first = run(rate, 0)
            last[rate] = first["losses"][-1] if first["diverged"] is None else None
        rate = _lowest(last)
        runs = [run(rate, seed) for seed in range(plan.seeds)]
        results.append(
            {
                "momentum": beta,
                "rate": rate,
                "edge": rate in (plan.momentum_rates[0], plan.momentum_rates[-1]),
                "losses": {str(r): loss for r, loss in last.items()},
                "curve": np.mean([r["losses"] for r in runs], axis=0).tolist(),
                "first_loss": mean_and_spread(r["losses"][0] for r in runs),
                "last_loss": mean_and_spread(r["losses"][-1] for r in runs),
                "test_accuracy": mean_and_spread(r["tests"][-1][2] for r in runs),
            }
        )
    return results


def noise(work: Work, plan: Plan) -> list[dict[str, Any]]:
    """Measure the noise of mini-batch gradients before training and after an epoch of it.

    Parameters
    ----------
    work : Work
        Keeps the units.
    plan : Plan
        How much is run.

    Returns
    -------
    list of dict
        What `gradient_noise` gives, one for each moment.
    """
    n = len(work.train[0])
    sizes = [2**k for k in range(0, n.bit_length(), 2) if 2**k < n]
    return [
        work(
            gradient_noise,
            config=settings(EXPERIMENTS[1].config, epochs=epochs),
            dtype=plan.dtype,
            sizes=sizes,
            draws=plan.noise_draws,
        )
        for epochs in (0, 1)
    ]


def gradient_noise(
    work: Work, *, config: dict[str, Any], dtype: str, sizes: list[int], draws: int
) -> dict[str, Any]:
    """Measure E‖g_B − g‖², the trace of the covariance of the gradient of a mini-batch B.

    Batches are drawn without replacement, as within an epoch. With n of N images in a batch the
    theory says trΣ/n · (N − n)/(N − 1).

    Parameters
    ----------
    work : Work
        Where the data is.
    config : dict
        Fields of `Config`: how the network is trained first.
    dtype : str
        Precision.
    sizes : list of int
        Batch sizes, below N.
    draws : int
        About how many images are drawn for each size.

    Returns
    -------
    dict
        ``epochs`` trained, ``sizes``, ``variances``, ``batches`` drawn, ``images`` N, the squared
        length of the whole ``gradient``, and ``trace``, trΣ as all sizes estimate it.
    """
    cfg = Config(**config)
    x, y = work.train
    params = network(cfg.seed, dtype)
    for record in purenet.epochs(params, work.train, cfg):
        params = record.params
    whole = _gradient(params, x, y)
    rng, n = np.random.Generator(np.random.PCG64(cfg.seed)), len(x)
    variances, drawn = [], []
    for size in sizes:
        count = max(min(draws // size, draws // 256), 8)
        squares = []
        for _ in range(count):
            rows = rng.choice(n, size, replace=False, shuffle=False)
            difference = _gradient(params, x[rows], y[rows]) - whole
            squares.append(float(difference @ difference))
        variances.append(float(np.mean(squares)))
        drawn.append(count)
    traces = [v * s * (n - 1) / (n - s) for v, s in zip(variances, sizes, strict=True)]
    return {
        "epochs": cfg.epochs,
        "images": n,
        "sizes": sizes,
        "variances": variances,
        "batches": drawn,
        "gradient": float(whole @ whole),
        "trace": float(np.average(traces, weights=drawn)),
    }


def _gradient(params: Params, x: Array, y: Array) -> Any:
    """Return the gradient of the mean cross-entropy as one vector, in float64."""
    total: Any = 0.0
    for first in range(0, len(x), 4096):
        part = slice(first, first + 4096)
        pixels = x[part].astype(params["W1"].dtype)
        _, grads = purenet.backward(params, pixels, y[part])
        flat = np.concatenate([g.ravel() for g in grads.values()]).astype(float)
        total = total + flat * (len(pixels) / len(x))
    return total
