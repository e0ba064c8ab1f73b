"""The catalogue of errors in docs/errors.md: every call in it gives the error beside it."""

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


def matches(message: str, error: str) -> bool:
    """Tell whether an error has the words of its row, where … stands for any words."""
    pattern = ".*".join(map(re.escape, error.split("…")))
    return re.fullmatch(pattern, message, re.DOTALL) is not None


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the names that the calls use, after the preamble ran in a folder of its own."""
    found: dict[str, Any] = {"folder": tmp_path_factory.mktemp("catalogue")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found["folder"])
        exec(PREAMBLE, found)
        options = ["--data", "digits.npz", "--epochs", "2", "--output", "run", "--quiet"]
        assert main(["train", *options]) == 0
    return found


@pytest.fixture(autouse=True)
def in_their_folder(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder with the files of the catalogue the working folder."""
    monkeypatch.chdir(names["folder"])


def test_the_catalogue_has_many_rows_and_none_twice() -> None:
    """The tests find every row: at least sixty, among them twenty commands."""
    assert len(ROWS) == len(set(ROWS)) == DOC.count("\n| `") >= 60
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize(("call", "error"), CALLS, ids=[call for call, _ in CALLS])
def test_a_wrong_call_raises_the_error_of_the_catalogue(
    names: dict[str, Any], call: str, error: str
) -> None:
    """The call raises an error of this type with this message."""
    # NumPy may warn of an overflow before purenet refuses its result.
    with np.errstate(over="ignore"), pytest.raises(Error) as caught:
        eval(call, names)
    message = f"{type(caught.value).__name__}: {caught.value}"
    assert matches(message, error), message


@pytest.mark.parametrize(("command", "error"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_wrong_command_prints_the_line_of_the_catalogue(
    capsys: pytest.CaptureFixture[str], command: str, error: str
) -> None:
    """The command prints one line to stderr, has its exit status, and changes no file."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    status = main(shlex.split(command)[1:])
    out, err = capsys.readouterr()
    assert matches(err, f"purenet: {error}\n"), err
    if "diverged" in command:
        assert status == 1
    else:
        assert (status, out) == (2, "")
        assert before == {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
