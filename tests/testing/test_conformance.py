"""Purenet obeys every law, and no wrong implementation of the catalogue does."""

import itertools
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import purenet
from purenet.testing import conformance, mutants
from purenet.testing.conformance import LAWS, Implementation, check, examples_until_caught
from purenet.testing.mutants import MUTANTS, TEMPLATES, Mutant

TABLE = Path(__file__).parents[2] / "docs" / "mutants.md"


@pytest.mark.parametrize("law", LAWS)
def test_purenet_obeys(law: str) -> None:
    """Each law holds, on half as many examples as the profile says: there are many laws."""
    check(Implementation(), law, max_examples=settings().max_examples // 2)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_mutant_is_caught(mutant: Mutant) -> None:
    """The law that is named for a mistake finds it."""
    assert examples_until_caught(mutant.implementation, mutant.caught_by)


def test_mutants_are_right_but_for_their_mistake() -> None:
    """What they are made from obeys every law but those about refusals."""
    laws = set(LAWS) - {"bad_input_is_refused", "step_goes_by_names"}
    check(TEMPLATES, *sorted(laws), max_examples=10)


def test_a_right_implementation_is_not_caught() -> None:
    """Where nothing is wrong, no count is returned."""
    law = "step_without_momentum_is_plain_descent"
    assert examples_until_caught(Implementation(), law, max_examples=20) is None


def test_table_names_every_mutant_and_survivors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed table has a row for each mutant, and says which survived."""
    counts = {mutant.caught_by: 7 for mutant in MUTANTS[9:]}
    monkeypatch.setattr(mutants, "examples_until_caught", lambda _, law: counts.get(law))
    mutants.main()
    rows = capsys.readouterr().out.splitlines()[-len(MUTANTS) :]
    survived = [mutant.caught_by not in counts for mutant in MUTANTS]
    for row, mutant, alive in zip(rows, MUTANTS, survived, strict=True):
        assert f"| {mutant.mistake} | `{mutant.caught_by}` | {'survived' if alive else 7} |" in row


def test_docs_show_the_catalogue() -> None:
    """The table in the docs is that of these mutants; its counts depend on Hypothesis."""
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \| `(.*?)` \| \d+ \|$", TABLE.read_text("utf-8"), re.M)
    assert rows == [(mutants.functions(m), m.mistake, m.caught_by) for m in MUTANTS]


def test_docs_name_every_law() -> None:
    """The table of promises leaves out none."""
    promises = TABLE.with_name("correctness.md").read_text("utf-8")
    assert [name for name in LAWS if f"`{name}`" not in promises] == []


def test_check_names_the_law_that_failed() -> None:
    """What is wrong, where, and by which law is in the error."""
    mutant = next(m for m in MUTANTS if m.mistake == "summed over the batch")
    with pytest.raises(AssertionError, match="rounding explains") as caught:
        check(mutant.implementation, mutant.caught_by)
    assert mutant.caught_by in "".join(caught.value.__notes__)


def test_check_refuses_a_name_that_is_no_law() -> None:
    """A misspelt law is not a law that holds."""
    with pytest.raises(ValueError, match="laws must be among logits_are_within_rounding"):
        check(Implementation(), "additivity")


def test_check_names_what_depends_on_chance() -> None:
    """An implementation that gives other results each time is wrong, whatever else it is."""

    def forward_wrong_once() -> Any:
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
