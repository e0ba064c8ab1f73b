"""Parameters in a dictionary, beside parameters in one flat vector."""

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from benchmarks.decisions.turns import ratio, take_turns
from benchmarks.report import table
from purenet import backward, init, momentum_step

NETWORKS = ([20, 10, 5], [64, *[32] * 20, 10], [784, 200, 50, 10])
ETA, BETA = 0.4, 0.9
RATES = {"learning_rate": ETA, "momentum": BETA}


def flat_step(p: Any, v: Any, g: Any) -> Any:
    """Take the step of `momentum_step` on arrays, without any check."""
    v = BETA * v + (1 - BETA) * g
    return p - ETA * v, v


def dictionary_step(params: Any, velocity: Any, grads: Any) -> Any:
    """Take the same step on dictionaries, without any check."""
    velocity = {name: BETA * velocity[name] + (1 - BETA) * grads[name] for name in params}
    return {name: p - ETA * velocity[name] for name, p in params.items()}, velocity


def contestants(sizes: list[int]) -> dict[str, Callable[[], Any]]:
    """Return steps of one network by name; the last one also computes the gradient."""
    params = init(sizes)
    flat = np.concatenate([p.ravel() for p in params.values()])
    x = np.random.default_rng(0).random((128, sizes[0]), np.float32)
    y = np.arange(128) % sizes[-1]

    def whole() -> Any:
        return momentum_step(params, params, backward(params, x, y)[1], **RATES)

    return {
        "flat": lambda: flat_step(flat, flat, flat),
        "dictionary": lambda: dictionary_step(params, params, params),
        "checked": lambda: momentum_step(params, params, params, **RATES),
        "whole": whole,
    }


def tables() -> str:
    """Return the table of times."""
    rows = []
    for sizes in NETWORKS:
        parameters = sum(a * b + b for a, b in pairwise(sizes))
        calls = 20_000_000 // (parameters + 4_000)
        seconds = take_turns(contestants(sizes), calls)
        extra = np.subtract(seconds["checked"], seconds["flat"])
        share = median(np.divide(extra, seconds["whole"]))
        rows.append(
            [
                f"{parameters:,} parameters in {2 * len(sizes) - 2} arrays",
                f"{1e6 * median(seconds['flat']):.3g} µs",
                ratio(seconds["dictionary"], seconds["flat"]),
                ratio(seconds["checked"], seconds["flat"]),
                f"{share:.1%}".replace("%", " %"),
            ]
        )
    header = ["a step of momentum in NumPy", "one flat vector", "dictionary, unchecked"]
    header += ["`momentum_step`", "what it adds to a step of 128 examples"]
    return table(header, rows)
