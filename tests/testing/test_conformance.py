"""Purenet obeys every law, and no wrong implementation of the catalogue does."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from purenet.testing import conformance, mutants
from purenet.testing.conformance import LAWS, Implementation, check, examples_until_caught
from purenet.testing.mutants import MUTANTS, TEMPLATES, Mutant

TABLE = Path(__file__).parents[2] / "docs" / "mutants.md"


@pytest.mark.parametrize("law", LAWS)
def test_purenet_obeys(law: str) -> None:
    """Each law holds, on as many examples as the profile says."""
    check(Implementation(), law, max_examples=settings().max_examples)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mistake)
def test_mutant_is_caught(mutant: Mutant) -> None:
    """The law that is named for a mistake finds it."""
    assert examples_until_caught(mutant.implementation, mutant.caught_by)


def test_mutants_are_right_but_for_their_mistake() -> None:
    """What they are made from obeys every law, but refuses nothing and has two ways to a loss."""
    laws = set(LAWS) - {"bad_input_is_refused", "backward_returns_the_loss"}
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
    rows = re.findall(r"^\| `.*?` \| (.*?) \| `(.*?)` \| \d+ \|$", TABLE.read_text("utf-8"), re.M)
    assert rows == [(mutant.mistake, mutant.caught_by) for mutant in MUTANTS]


def test_table_is_made_by_running_the_module(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m purenet.testing.mutants` prints the table."""
    monkeypatch.setattr(conformance, "examples_until_caught", lambda *_: 7)
    monkeypatch.delitem(sys.modules, "purenet.testing.mutants")
    runpy.run_module("purenet.testing.mutants", run_name="__main__")
    assert capsys.readouterr().out.count("| 7 |") == len(MUTANTS)
