"""He's standard deviation of the first weights, beside others, in networks of three depths."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.report import table
from purenet import Config, DivergenceError, datasets, init, train
from purenet.params import Params, layers

NETWORKS = {
    "784-200-50-10": [784, 200, 50, 10],
    "784-8×100-10": [784, *[100] * 8, 10],
    "784-20×100-10": [784, *[100] * 20, 10],
}
STARTS: dict[str, Callable[[int, int], float]] = {
    "He, √(2 / fan_in)": lambda fan_in, _: math.sqrt(2 / fan_in),
    "Xavier, √(2 / (fan_in + fan_out))": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "PyTorch's, √(1 / (3 fan_in))": lambda fan_in, _: math.sqrt(1 / (3 * fan_in)),
    "0.01, the report's": lambda *_: 0.01,
}
RATES = (0.1, 0.2, 0.4)
SEEDS, EPOCHS = (0, 1, 2), 5


def start(sizes: list[int], name: str, seed: int) -> Params:
    """Draw the first parameters; the weights of one seed differ by factors alone."""
    params = init(sizes, seed=seed, scale=1.0)
    for W, _ in layers(params):
        W[...] *= STARTS[name](*W.shape)
    return params


def signal(params: Params, x: Any) -> float:
    """Return the root mean square of the last hidden layer, as a share of that of the first."""
    sizes, a = [], x
    for W, _ in layers(params)[:-1]:
        a = np.maximum(a @ W, 0)
        sizes.append(math.sqrt(np.mean(np.square(a, dtype=float))))
    return sizes[-1] / sizes[0]


def history(params: Params, cfg: Config) -> list[dict[str, float]]:
    """Train on MNIST and return the figures of each epoch, or nothing if training diverged."""
    data, test = datasets.mnist()
    try:
        return train(params, data, cfg, validation=test).history
    except DivergenceError:
        return []


def percent(values: Sequence[float]) -> str:
    """Return mean and standard deviation in per cent."""
    return f"{100 * fmean(values):.2f} ± {100 * stdev(values):.2f} %"


def reached(sizes: list[int], name: str) -> str:
    """Say what a start reaches at the rate with the lowest loss after two epochs."""
    losses = {}
    for rate in RATES:
        trial = history(start(sizes, name, 0), Config(epochs=2, learning_rate=rate))
        losses[rate] = trial[-1]["loss"] if trial else math.inf
    best = min(losses, key=losses.__getitem__)
    cfg = Config(epochs=EPOCHS, learning_rate=best)
    runs = [history(start(sizes, name, seed), replace(cfg, seed=seed)) for seed in SEEDS]
    first, last = ([run[e]["val_accuracy"] for run in runs] for e in (0, -1))
    return f"{100 * fmean(first):.2f}, {percent(last)}, η = {best}"


def tables() -> str:
    """Return the tables of accuracies and of the signal before training."""
    x = datasets.mnist()[0][0][:1000] / np.float32(255)
    accuracies, signals = [], []
    for name in STARTS:
        accuracies.append([name, *(reached(sizes, name) for sizes in NETWORKS.values())])
        signals.append(
            [name, *(f"{signal(start(sizes, name, 0), x):.2g}" for sizes in NETWORKS.values())]
        )
    title = f"test accuracy after 1 and {EPOCHS} epochs"
    return "\n".join(
        [table([title, *NETWORKS], accuracies), table(["signal left", *NETWORKS], signals)]
    )
