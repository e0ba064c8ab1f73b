"""The score of a checker: what it misses, and what right code it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from purenet.testing import Precision, check_operation, score


def test_a_checker_of_operations_is_scored() -> None:
    """Ours accepts all right layers and catches all wrong ones but those that an option shows."""

    def check(name: str, f: Callable[..., Any]) -> None:
        check_operation(f, name, precision=Precision("float32"), examples=40).raise_if_wrong()

    found = score(check, ["linear", "relu_backward"])
    assert {case.description for case in found.missed} <= {
        "another order of sums for a batch of one",
        "sums in the storage precision",
    }
    assert found.refused == ()
    assert len(found.caught) >= 20


def test_a_lax_and_a_strict_checker_are_told_apart() -> None:
    """A checker that accepts everything misses all; one that refuses everything accepts none."""

    def lax(name: str, f: Callable[..., Any]) -> None:
        """Accept everything."""

    def strict(name: str, _: Callable[..., Any]) -> None:
        raise AssertionError(name)

    def none(name: str, f: Callable[..., Any]) -> None:
        raise NotImplementedError

    assert not score(lax).caught
    assert not score(lax).refused
    assert not score(strict).missed
    assert not score(strict).accepted
    assert "refused, though right: forward, purenet's own" in str(score(strict, ["forward"]))
    assert str(score(none)).startswith("0 of 0 wrong functions caught")


def test_a_single_example_misses_much() -> None:
    """A test of one forward pass with ones catches some mistakes and not others."""

    def check(_: str, forward: Callable[..., Any]) -> None:
        params = {"W1": np.ones((2, 2)), "b1": np.zeros(2)}
        assert np.all(forward(params, np.ones((1, 2))) == 2)

    found = score(check, ["forward"])
    missed = {case.description for case in found.missed}
    assert "no activation between layers" in missed
    assert "softmax at the end of forward" not in missed


def test_names_that_are_not_in_the_catalogue_are_refused() -> None:
    """A misspelt name is a ValueError that lists the names."""
    with pytest.raises(ValueError, match=r"functions must be among init, forward, .*got 'layer'"):
        score(print, ["layer"])
    bad: list[Any] = ["linear", []]
    for functions in bad:
        with pytest.raises(ValueError, match="functions must be a list of names, got"):
            score(print, functions)
    with pytest.raises(ValueError, match="check must be a function, got 3"):
        score(3)  # type: ignore[arg-type]
