"""Claims of the README: each of its blocks of Python does what the text says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BY_HAND, TRAINED, STOPPED, CHECKED = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def last_line_of(block: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a block by itself; return the last line that it prints."""
    exec(compile(block, "README.md", "exec"), {})
    return capsys.readouterr().out.splitlines()[-1]


def test_loop_over_the_pure_functions_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch in a loop of the user's own gives a test accuracy of at least 94 %."""
    last = last_line_of(BY_HAND, capsys)
    assert float(last.rpartition(" ")[2].rstrip("%")) >= 94


def test_train_learns(capsys: pytest.CaptureFixture[str]) -> None:
    """Two epochs of `train` give a test accuracy of at least 96 %."""
    last = last_line_of(TRAINED, capsys)
    assert "'epoch': 2" in last
    assert float(last.rpartition(" ")[2].rstrip("}")) >= 0.96


def test_a_run_that_stopped_early_goes_on_at_another_rate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop stops early, and an epoch at a lower rate from the best file reaches 97.5 %."""
    monkeypatch.chdir(tmp_path)
    last = last_line_of(STOPPED, capsys)
    assert float(last.rpartition(" ")[2].rstrip("}")) >= 0.975
    assert (tmp_path / "best.safetensors").exists()


def test_the_checks_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """The logits obey the laws, all 39 coordinates of the gradient agree, and the kernel is ok."""
    exec(compile(CHECKED, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("logits_are_within_rounding                    pass")
    assert "\ngradient ok: 39 agrees, 0 disagrees, 0 inconclusive" in out
    assert "\nlinear ok: 100 examples in numpy" in out
