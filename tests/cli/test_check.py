"""`purenet check` surveys an implementation that it imports from the folder where it is called."""

import json
import re
import sys
from pathlib import Path

import pytest

from purenet.cli.commands import main

MODULE = """
import purenet
from purenet.testing.conformance import Implementation

def summing(params, x, y, *, l2=0.0):
    value, grads = purenet.backward(params, x, y, l2=l2)
    return value, {name: g * len(x) for name, g in grads.items()}

right = Implementation(forward=purenet.forward)
wrong = Implementation(backward=summing)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a module of somebody's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "theirs.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def test_a_right_implementation_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Each law that was tried is a line of the table."""
    assert main(["check", "theirs:right", "--law", "logits_are_within_rounding"]) == 0
    assert re.match(r"logits_are_within_rounding  pass +\d+\.\d s\n", capsys.readouterr().out)


def test_a_wrong_implementation_exits_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The findings are printed and written, and the printed replay fails again."""
    law = "gradient_is_additive"
    assert main(["check", "theirs:wrong", "--law", law, "--json", "found.json"]) == 1
    out, err = capsys.readouterr()
    assert "purenet: theirs:wrong: 1 of 1 laws failed" in err
    (found,) = json.loads((folder / "found.json").read_text("utf-8"))["findings"]
    assert found["message"] in out
    assert main(["check", "theirs:wrong", "--law", law, "--replay", found["replay"]]) == 1
    assert found["message"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["theirs"], "expected MODULE:NAME, as in package.module:name, got 'theirs'"),
        (["theirs:missing"], "cannot find theirs:missing: module 'theirs' has no attribute"),
        (["nowhere:right"], "cannot find nowhere:right: No module named 'nowhere'"),
        (["theirs:summing"], "must be an Implementation or a Model, got <function summing"),
        (["theirs:right", "--law", "no_law"], "laws must be among logits_are_within_rounding"),
        (
            ["theirs:right", "--law", "step_is_linear"],
            "no law was tried: no momentum_step is given",
        ),
        (["theirs:right", "--replay", "x"], "--replay needs the --law of the counterexample"),
        (
            ["theirs:right", "--law", "functions_are_pure", "--replay", "x"],
            "replay must be the text of a finding, got 'x'",
        ),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command exits with 2, says why in one line, and prints no traceback."""
    assert main(["check", *args]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert "Traceback" not in err
