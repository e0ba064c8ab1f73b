"""What holds for every right implementation of the multilayer perceptron, as checks to be run.

A law is a function of an implementation and of what is drawn for it. It raises AssertionError where
its name, a claim, is false. `purenet.testing.conformance` runs them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

import purenet

__all__ = ["Implementation", "Law", "law"]


@dataclass(frozen=True)
class Implementation:
    """The functions under test; each is purenet's own unless given.

    Parameters
    ----------
    init : callable
        As `purenet.init`: with its arguments, results and errors, on NumPy arrays.
    forward : callable
        As `purenet.forward`.
    loss : callable
        As `purenet.loss`.
    backward : callable
        As `purenet.backward`.
    momentum_step : callable
        As `purenet.momentum_step`.
    train : callable
        As `purenet.train`.
    """

    init: Callable[..., Any] = purenet.init
    forward: Callable[..., Any] = purenet.forward
    loss: Callable[..., Any] = purenet.loss
    backward: Callable[..., Any] = purenet.backward
    momentum_step: Callable[..., Any] = purenet.momentum_step
    train: Callable[..., Any] = purenet.train


@dataclass(frozen=True)
class Law:
    """A claim, and what it is tried on.

    Parameters
    ----------
    holds : callable
        ``holds(implementation, *drawn)`` raises AssertionError where the claim is false.
    strategies : tuple of strategy
        What is drawn.
    """

    holds: Callable[..., None]
    strategies: tuple[st.SearchStrategy[Any], ...]


def law(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Law]:
    """Make a law of a function of an implementation and of what these strategies draw.

    Parameters
    ----------
    *strategies : strategy
        One for each argument after the implementation.

    Returns
    -------
    callable
        A decorator.
    """
    return lambda holds: Law(holds, strategies)
