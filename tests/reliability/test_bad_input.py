"""The catalogue of errors in docs/errors.md: every call of it, made."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purenet import DivergenceError
from purenet.cli.commands import main

DOC = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
(PREAMBLE,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
ROWS = [
    (call.replace(r"\|", "|"), error.replace(r"\|", "|"))
    for call, error in re.findall(r"^\| `(.*?)` \| (.*) \|$", DOC, re.MULTILINE)
]
CALLS = [row for row in ROWS if not re.match(r"purenet( |$)", row[0])]
Error = (ValueError, OSError, DivergenceError)
COMMANDS = [row for row in ROWS if row not in CALLS]


def matches(told: str, error: str) -> bool:
    """Tell whether an error says what its row says."""
    pattern = ".*".join(map(re.escape, error.split("…")))
    return re.fullmatch(pattern, told, re.DOTALL) is not None


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the names that the calls use, made in a folder of their own."""
    found: dict[str, Any] = {"folder": tmp_path_factory.mktemp("catalogue")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found["folder"])
        exec(PREAMBLE, found)
        options = ["--data", "digits.npz", "--epochs", "2", "--output", "run", "--quiet"]
        assert main(["train", *options]) == 0
    return found


@pytest.fixture(autouse=True)
def in_their_folder(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where the files of the catalogue are."""
    monkeypatch.chdir(names["folder"])


def test_the_catalogue_is_long_and_has_no_row_twice() -> None:
    """At least sixty ways to go wrong, of which a third on the command line."""
    assert len(ROWS) == len(set(ROWS)) == DOC.count("\n| `") >= 60
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize(("call", "error"), CALLS, ids=[call for call, _ in CALLS])
def test_a_wrong_call_says_what_the_catalogue_says(
    names: dict[str, Any], call: str, error: str
) -> None:
    """The type and the words of the error."""
    # NumPy may warn of an overflow before purenet refuses what it led to.
    with np.errstate(over="ignore"), pytest.raises(Error) as caught:
        eval(call, names)
    told = f"{type(caught.value).__name__}: {caught.value}"
    assert matches(told, error), told


@pytest.mark.parametrize(("command", "error"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_wrong_command_says_what_the_catalogue_says(
    capsys: pytest.CaptureFixture[str], command: str, error: str
) -> None:
    """One line on stderr and an exit status; files stay as they are."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    status = main(shlex.split(command)[1:])
    out, err = capsys.readouterr()
    assert matches(err, f"purenet: {error}\n"), err
    if "diverged" in command:
        assert status == 1
    else:
        assert (status, out) == (2, "")
        assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
