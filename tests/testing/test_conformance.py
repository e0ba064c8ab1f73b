"""Purenet obeys every law, and each wrong implementation of the catalogue breaks one."""

import itertools
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from numpy.typing import NDArray

import purenet
from purenet.params import Params
from purenet.testing import conformance, mutants
from purenet.testing.conformance import LAWS, Implementation, check, examples_until_caught
from purenet.testing.mutants import MUTANTS, TEMPLATES, Mutant

TABLE = Path(__file__).parents[2] / "docs" / "mutants.md"


@pytest.mark.parametrize("law", LAWS)
def test_purenet_obeys(law: str) -> None:
    """Purenet obeys each law, on half of the examples of the profile, because laws are many."""
    check(Implementation(), law, max_examples=settings().max_examples // 2)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_mutant_is_caught(mutant: Mutant) -> None:
    """The law that the catalogue names for a mistake catches it."""
    assert examples_until_caught(mutant.implementation, mutant.caught_by, max_examples=200)


def test_mutants_are_right_but_for_their_mistake() -> None:
    """The templates of the mutants obey every law but the two about refusals."""
    laws = set(LAWS) - {"bad_input_is_refused", "step_goes_by_names"}
    check(TEMPLATES, *sorted(laws), max_examples=10)


def test_a_right_implementation_is_not_caught() -> None:
    """`examples_until_caught` returns None for an implementation that obeys the law."""
    law = "step_without_momentum_is_plain_descent"
    assert examples_until_caught(Implementation(), law, max_examples=20) is None


def test_table_names_every_mutant_and_survivors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed table has a row for each mutant, and names those that survived."""
    counts = {mutant.caught_by: 7 for mutant in MUTANTS[9:]}
    monkeypatch.setattr(mutants, "examples_until_caught", lambda _, law: counts.get(law))
    mutants.main()
    rows = capsys.readouterr().out.splitlines()[-len(MUTANTS) :]
    survived = [mutant.caught_by not in counts for mutant in MUTANTS]
    for row, mutant, alive in zip(rows, MUTANTS, survived, strict=True):
        assert f"| {mutant.mistake} | `{mutant.caught_by}` | {'survived' if alive else 7} |" in row


def test_docs_show_the_catalogue() -> None:
    """The docs list these mutants, functions and laws; the counts depend on Hypothesis."""
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \| `(.*?)` \| \d+ \|$", TABLE.read_text("utf-8"), re.M)
    assert rows == [(mutants.functions(m), m.mistake, m.caught_by) for m in MUTANTS]


def test_docs_name_every_law() -> None:
    """The table of promises in the docs names every law."""
    promises = TABLE.with_name("correctness.md").read_text("utf-8")
    assert [name for name in LAWS if f"`{name}`" not in promises] == []


def test_check_names_the_law_that_failed() -> None:
    """The error says which number is wrong, and a note names the law."""
    mutant = next(m for m in MUTANTS if m.mistake == "summed over the batch")
    with pytest.raises(AssertionError, match="rounding explains") as caught:
        check(mutant.implementation, mutant.caught_by)
    assert mutant.caught_by in "".join(caught.value.__notes__)


def test_check_refuses_a_name_that_is_no_law() -> None:
    """`check` refuses the misspelt name of a law."""
    with pytest.raises(ValueError, match="laws must be among logits_are_within_rounding"):
        check(Implementation(), "additivity")


def test_check_names_what_depends_on_chance() -> None:
    """An implementation that gives other results at each call is reported as such."""

    def forward_wrong_once() -> Callable[[Params, NDArray[Any]], NDArray[Any]]:
        calls = itertools.count()
        return lambda params, x: purenet.forward(params, x) + (next(calls) == 0)

    with pytest.raises(AssertionError, match="equal calls gave different"):
        check(Implementation(forward=forward_wrong_once()), "functions_are_pure")
    with pytest.raises(AssertionError, match="equal calls gave different results"):
        check(Implementation(forward=forward_wrong_once()), "logits_are_within_rounding")


def test_table_is_made_by_running_the_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m purenet.testing.mutants` prints the table."""
    monkeypatch.setattr(conformance, "examples_until_caught", lambda *_: 7)
    monkeypatch.delitem(sys.modules, "purenet.testing.mutants")
    runpy.run_module("purenet.testing.mutants", run_name="__main__")
    assert capsys.readouterr().out.count("| 7 |") == len(MUTANTS)
