"""The README's Python, run as a reader would."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BY_HAND, CHECKED, TRAINED = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def last_line_of(block: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a block by itself, and return the last line it prints."""
    exec(compile(block, "README.md", "exec"), {})
    return capsys.readouterr().out.splitlines()[-1]


def test_functions_by_hand_learn(capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch by hand gets at least 94 % of the test digits right."""
    last = last_line_of(BY_HAND, capsys)
    assert float(last.rpartition(" ")[2].rstrip("%")) >= 94


def test_train_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """Three epochs get at least 96 % of the test digits right."""
    last = last_line_of(TRAINED, capsys)
    assert "'epoch': 3" in last
    assert float(last.rpartition(" ")[2].rstrip("}")) >= 0.96


def test_checks_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """A right gradient is reported to be right, in every coordinate."""
    exec(compile(CHECKED, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("gradient ok: 39 agrees, 0 disagrees, 0 inconclusive")
