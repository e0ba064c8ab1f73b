"""The laws that every correct implementation of the multilayer perceptron obeys, as checks.

A law is a function of an implementation and of drawn arguments. Its name is a claim. It raises
AssertionError if the claim is false for them. `purenet.testing.conformance` runs the laws.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import ArrayLike, DTypeLike, NDArray

import purenet

__all__ = [
    "ERRORS",
    "FORM",
    "MATHEMATICS",
    "PURITY",
    "SLACK",
    "Group",
    "Implementation",
    "Law",
    "assert_pure",
    "assert_within",
    "law",
]

Drawn: TypeAlias = st.SearchStrategy[Any] | Callable[..., st.SearchStrategy[Any]]
Function: TypeAlias = Any  # a callable, or None if it is not given
Group: TypeAlias = Literal["mathematics", "purity", "form", "errors"]

MATHEMATICS: Group = "mathematics"
"""What every right implementation obeys."""

PURITY: Group = "purity"
"""Arguments are not written, and equal calls give equal bits."""

FORM: Group = "form"
"""Names, order, shapes and dtypes as purenet has them."""

ERRORS: Group = "errors"
"""What purenet refuses."""


FUNCTIONS = ("init", "forward", "loss", "backward", "momentum_step", "train")

SLACK: ContextVar[float] = ContextVar("SLACK", default=0.0)
"""A stated deviation: so much of max(1, |exact|) is granted beside each bound."""


@dataclass(frozen=True)
class Implementation:
    """Hold the functions under test. Purenet's own stand in for those that are not given.

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
    sizes : list of int
        The units of each layer, if the functions take no other network.
    dtypes : sequence of dtype
        The dtypes that the functions take.
    """

    init: Function = None
    forward: Function = None
    loss: Function = None
    backward: Function = None
    momentum_step: Function = None
    train: Function = None
    sizes: list[int] | None = None
    dtypes: Sequence[DTypeLike] = (np.float64, np.float32)

    def __post_init__(self) -> None:
        for name, f in self.given.items():
            if not callable(f):
                raise ValueError(f"{name} must be a function, got {f!r}")
        if self.sizes is not None:
            purenet.init(self.sizes)  # refuses what are no sizes

    @property
    def given(self) -> dict[str, Callable[..., Any]]:
        """Return the functions that are given, by name."""
        values = {name: getattr(self, name) for name in FUNCTIONS}
        return {name: f for name, f in values.items() if f is not None}

    def with_purenet(self) -> Any:
        """Return an implementation with purenet's functions in place of those that are missing."""
        return replace(self, **{name: getattr(purenet, name) for name in FUNCTIONS} | self.given)


@dataclass(frozen=True)
class Law:
    """Hold a claim, and the strategies that draw its arguments.

    Parameters
    ----------
    group : {"mathematics", "purity", "form", "errors"}
        What kind of claim it is.
    functions : tuple of str
        The functions of an implementation that it calls.
    holds : callable
        ``holds(implementation, *drawn)`` raises AssertionError if the claim is false.
    strategies : tuple of strategy, or of functions that return one
        One for each argument after the implementation. A function gets the domain as keywords.
    """

    group: Group
    functions: tuple[str, ...]
    holds: Callable[..., None]
    strategies: tuple[Drawn, ...]


def law(group: Group, functions: str, *strategies: Drawn) -> Callable[[Callable[..., None]], Law]:
    """Make a law of a function, whose arguments after the implementation these strategies draw.

    Parameters
    ----------
    group : {"mathematics", "purity", "form", "errors"}
        What kind of claim it is.
    functions : str
        The functions of an implementation that it calls, separated by spaces.
    *strategies : strategy, or function that returns one
        One for each argument after the implementation.

    Returns
    -------
    callable
        A decorator.
    """
    return lambda holds: Law(group, tuple(functions.split()), holds, strategies)


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
        assert np.isfinite(float(right)), f"{where} has nothing to be compared with: {float(right)}"
        assert np.isfinite(number), f"{where} is {number}, exact {float(right):.17g}"
        distance = float(abs(right - number))
        granted = SLACK.get() * max(1.0, abs(float(right)))
        assert distance <= bounds[index] + granted, (
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
