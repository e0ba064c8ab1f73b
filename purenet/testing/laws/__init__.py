"""The laws that every correct implementation of the multilayer perceptron obeys, as checks.

A law is a function of an implementation and of drawn arguments. Its name is a claim. It raises
AssertionError if the claim is false for them. `purenet.testing.conformance` runs the laws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

import purenet

__all__ = ["Implementation", "Law", "assert_pure", "assert_within", "law"]

Drawn = st.SearchStrategy[Any] | Callable[..., st.SearchStrategy[Any]]


@dataclass(frozen=True)
class Implementation:
    """Hold the functions under test. Each is purenet's own unless given.

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
        As `purenet.train`. Its validation data and its errors are not tried.
    """

    init: Callable[..., Any] = purenet.init
    forward: Callable[..., Any] = purenet.forward
    loss: Callable[..., Any] = purenet.loss
    backward: Callable[..., Any] = purenet.backward
    momentum_step: Callable[..., Any] = purenet.momentum_step
    train: Callable[..., Any] = purenet.train


@dataclass(frozen=True)
class Law:
    """Hold a claim, and the strategies that draw its arguments.

    Parameters
    ----------
    holds : callable
        ``holds(implementation, *drawn)`` raises AssertionError if the claim is false.
    strategies : tuple of strategy, or of functions of dtypes that return one
        One for each argument after the implementation.
    """

    holds: Callable[..., None]
    strategies: tuple[Drawn, ...]


def law(*strategies: Drawn) -> Callable[[Callable[..., None]], Law]:
    """Make a law of a function, whose arguments after the implementation these strategies draw.

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


def assert_within(got: ArrayLike, exact: ArrayLike, bound: ArrayLike, what: str = "result") -> None:
    """Refuse numbers that are not finite, or further from the exact ones than a bound.

    Parameters
    ----------
    got : array
        The numbers, in the shape of the exact ones.
    exact : array
        The exact numbers, of any type.
    bound : array
        The largest distance allowed, in this shape or one that broadcasts to it.
    what : str
        The name of the numbers in the message.
    """
    numbers, expected = np.asarray(got), np.asarray(exact)
    shapes = f"{what} has shape {numbers.shape}, expected {expected.shape}"
    assert numbers.shape == expected.shape, shapes
    bounds = np.broadcast_to(np.asarray(bound), numbers.shape)
    for index in np.ndindex(numbers.shape):
        number, right = numbers[index].item(), expected[index]
        where = what + (str(list(index)) if index else "")
        assert np.isfinite(number), f"{where} is {number}, exact {float(right):.17g}"
        distance = float(abs(right - number))
        assert distance <= bounds[index], (
            f"{where} is {number!r}, exact {float(right):.17g}: off by {distance:.3g} where "
            f"rounding explains {bounds[index]:.3g}"
        )


def assert_pure(call: Callable[[], list[NDArray[Any]]], given: list[NDArray[Any]]) -> None:
    """Refuse a call that writes its arguments, shares their memory, or repeats with other bits.

    Parameters
    ----------
    call : callable
        A function without arguments that returns arrays.
    given : list of numpy.ndarray
        The arrays that the call uses.
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
