"""What holds for every right implementation of the multilayer perceptron, as checks to be run.

A law is a function of an implementation and of what is drawn for it. It raises AssertionError where
its name, a claim, is false. `purenet.testing.conformance` runs them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import purenet

__all__ = ["Implementation", "Law", "assert_pure", "assert_within", "law"]

Drawn = st.SearchStrategy[Any] | Callable[..., st.SearchStrategy[Any]]


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
        As `purenet.train`; its validation and its errors are not tried.
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
    strategies : tuple of strategy, or of functions of dtypes that return one
        What is drawn.
    """

    holds: Callable[..., None]
    strategies: tuple[Drawn, ...]


def law(*strategies: Drawn) -> Callable[[Callable[..., None]], Law]:
    """Make a law of a function of an implementation and of what these strategies draw.

    Parameters
    ----------
    *strategies : strategy, or function of dtypes that returns one
        One for each argument after the implementation.

    Returns
    -------
    callable
        A decorator.
    """
    return lambda holds: Law(holds, strategies)


def assert_within(got: Any, exact: Any, bound: Any, what: str = "result") -> None:
    """Refuse numbers that are further from the exact ones than a bound, or not finite.

    Parameters
    ----------
    got : array
        Numbers, of the shape of the exact ones.
    exact : array
        What they should be, of any type of number.
    bound : array
        How far they may be from it.
    what : str
        What they are, for the message.
    """
    got, exact = np.asarray(got), np.asarray(exact)
    assert got.shape == exact.shape, f"{what} has shape {got.shape}, expected {exact.shape}"
    bound = np.broadcast_to(np.asarray(bound), got.shape)
    for index in np.ndindex(got.shape):
        number, right = got[index].item(), exact[index]
        where = what + (str(list(index)) if index else "")
        assert np.isfinite(number), f"{where} is {number}, exact {float(right):.17g}"
        distance = float(abs(right - number))
        assert distance <= bound[index], (
            f"{where} is {number!r}, exact {float(right):.17g}: off by {distance:.3g} where "
            f"rounding explains {bound[index]:.3g}"
        )


def assert_pure(call: Callable[[], list[Any]], given: list[Any]) -> None:
    """Refuse a call that writes or shares its arguments, or gives other bits the second time.

    Parameters
    ----------
    call : callable
        Returns arrays.
    given : list of numpy.ndarray
        The arrays that it was given.
    """
    before = [array.tobytes() for array in given]
    first = call()
    bits = [np.asarray(array).tobytes() for array in first]
    second = call()
    assert before == [array.tobytes() for array in given], "an argument was written"
    assert bits == [np.asarray(a).tobytes() for a in second], "equal calls gave different bits"
    assert bits == [np.asarray(a).tobytes() for a in first], "an earlier result was written"
    for i, array in enumerate(first):
        others = [*given, *second, *first[:i]]
        assert not any(np.shares_memory(array, a) for a in others), "a result shares its memory"
