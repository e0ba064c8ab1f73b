"""Cross-entropy of logits, beside the logarithm of probabilities that are clipped."""

import math
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.decisions.descent import descend
from benchmarks.report import table
from purenet import Config, accuracy, backward, datasets, forward, init, init_velocity, train
from purenet.engines import cut
from purenet.network import log_softmax
from purenet.params import Params, is_weight, layers

SIZES, CLIP, SEEDS = [784, 200, 50, 10], 1e-7, (0, 1, 2)


def log_of_label(params: Params, x: Any, y: Any) -> Any:
    """Return log p at the label of each example."""
    return log_softmax(forward(params, x))[np.arange(len(y)), y]


def clipped_gradient(params: Params, x: Any, y: Any, l2: float) -> Params:
    """Return the gradient of -log max(p, CLIP) at the labels, with the penalty.

    It is 0 for an example below the clip. So it is the gradient of the other examples alone, times
    their share of the batch.
    """
    kept = log_of_label(params, x, y) >= math.log(CLIP)
    grads = init_velocity(params)
    if kept.any():
        grads = backward(params, x[kept], y[kept])[1]
    share = float(kept.mean())
    return {
        name: share * g + l2 * params[name] if is_weight(name) else share * g
        for name, g in grads.items()
    }


def unclipped_gradient(params: Params, x: Any, y: Any, l2: float) -> Params:
    """Return the gradient that purenet takes."""
    return backward(params, x, y, l2=l2)[1]


def one_epoch(gradient: Any, cfg: Config) -> tuple[float, float]:
    """Train one epoch from He's weights.

    Return the test accuracy, and the share of the last hidden units that any test digit switches
    on.
    """
    (x, y), test = datasets.mnist()
    params = init(SIZES, seed=cfg.seed)
    x = x * np.float32(cfg.input_scale)
    params = descend(partial(gradient, l2=cfg.l2), params, x, y, cfg)
    a = test[0] * np.float32(cfg.input_scale)
    for W, b in layers(params)[:-1]:
        a = np.maximum(a @ W + b, 0)
    share_on = float((a > 0).any(axis=0).mean())
    return float(accuracy(params, *test, input_scale=cfg.input_scale)), share_on


def numbers() -> str:
    """Return losses of one example in float32, by how far the logit of its label lies below."""
    rows = []
    for gap in (1, 10, 20, 50, 100, 1000):
        z = np.array([[0, -gap]], np.float32)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        with np.errstate(divide="ignore"):
            naive, clipped = -np.log(p[0, 1]), -np.log(np.maximum(p[0, 1], np.float32(CLIP)))
        ours = -log_softmax(z)[0, 1]
        slope = 0 if p[0, 1] < CLIP else p[0, 1] - 1
        values = (ours, naive, clipped, p[0, 1] - 1, slope)
        rows.append([str(gap), *(f"{value:.7g}" for value in values)])
    header = ["logit of the label below the other", "purenet's loss", "−log softmax"]
    header += ["with p ≥ 10⁻⁷", "p − 1", "slope of the clipped loss"]
    return table(header, rows)


def examples() -> str:
    """Return how many digits lie below the clip, and what the clip hides of their loss."""
    data, test = datasets.mnist()
    ten, start = Config(), init(SIZES)
    trained = train(start, data, ten).params
    longer = train(start, data, replace(ten, epochs=50, l2=0)).params
    rows = []
    for title, params, (x, y), scale in (
        ("training digits after 10 epochs", trained, data, 1 / 255),
        ("test digits after 10 epochs", trained, test, 1 / 255),
        ("test digits after 50 epochs without L2", longer, test, 1 / 255),
        ("training digits before training, pixels from 0 to 255", start, data, 1.0),
    ):
        chunks = cut(range(len(x)), 5000)
        parts = [log_of_label(params, x[r] * np.float32(scale), y[r]) for r in chunks]
        log_p = np.concatenate(parts).astype(float)
        below = log_p < math.log(CLIP)
        losses = (-log_p.mean(), -np.maximum(log_p, math.log(CLIP)).mean())
        counts = f"{below.sum():,} of {len(x):,}"
        rows.append([title, counts, *(f"{loss:.4g}" for loss in losses)])
    return table(["MNIST", "below 10⁻⁷", "loss", "clipped loss"], rows)


def trainings() -> str:
    """Return what an epoch along each gradient reaches."""
    rows = []
    for title, scale, rate in (
        ("pixels from 0 to 1, η = 0.4", 1 / 255, 0.4),
        ("pixels from 0 to 255, η = 0.001", 1.0, 0.001),
        ("pixels from 0 to 255, η = 0.01", 1.0, 0.01),
    ):
        cells = []
        for gradient in (unclipped_gradient, clipped_gradient):
            cfg = Config(epochs=1, learning_rate=rate, input_scale=scale)
            with threadpool_limits(1, user_api="blas"):  # two threads would spin
                reached = [one_epoch(gradient, replace(cfg, seed=seed)) for seed in SEEDS]
            accuracies, shares_on = 100 * np.transpose(reached)
            low, high = min(accuracies), max(accuracies)
            cells.append(f"{fmean(accuracies):.1f} % ({low:.1f} to {high:.1f})")
            cells.append(f"{fmean(shares_on):.0f} %")
        rows.append([title, *cells])
    header = ["after an epoch", "gradient of the loss: test accuracy", "last hidden units on"]
    header += ["of the clipped loss: test accuracy", "units on"]
    return table(header, rows)


def tables() -> str:
    """Return the three tables."""
    return "\n".join([numbers(), examples(), trainings()])
