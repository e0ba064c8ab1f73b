"""Times of contestants that take turns."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

ROUNDS = 30


def take_turns(
    contestants: Mapping[str, Callable[[], Any]], calls: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of a call of each contestant, one number for each round.

    In each round every contestant is called so many times in a row; the order is random.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    rng = np.random.default_rng(0)
    for name in contestants:
        contestants[name]()  # warm-up: compile code and touch memory
    for _ in range(ROUNDS):
        for name in rng.permutation(list(contestants)):
            start = perf_counter()
            for _ in range(calls):
                contestants[name]()
            seconds[name].append((perf_counter() - start) / calls)
    return seconds


def ratio(seconds: list[float], to: list[float]) -> str:
    """Return the median of the ratios within each round, ± half their interquartile range."""
    ratios = np.divide(seconds, to)
    low, high = np.percentile(ratios, [25, 75])
    return f"{median(ratios):.2f} ± {(high - low) / 2:.2f} ×"
