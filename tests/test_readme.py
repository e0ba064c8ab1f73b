"""Claims of the README: each of its blocks of Python does what the text says."""

import re
import tomllib
from pathlib import Path

import pytest

import purenet
from docs._ext.notebook import INSTALL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
BY_HAND, TRAINED, CHECKED = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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


def test_the_checks_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel is ok, and all 39 coordinates of the gradient agree."""
    exec(compile(CHECKED, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert out.startswith("linear ok: 100 examples in numpy")
    assert "\ngradient ok: 39 agrees, 0 disagrees, 0 inconclusive" in out


def test_links_lead_to_files() -> None:
    """Each relative link and picture names a file of the repository."""
    targets = re.findall(r"\]\(([^)#]+)", README)
    assert len(targets) > 20
    package = Path(purenet.__file__).parents[1]  # perhaps an installed one
    assert [t for t in targets if not ((ROOT / t).is_file() or (package / t).is_file())] == []


def test_pages_install_extras_from_a_clone() -> None:
    """No page installs from an index that may lack purenet, or names an unknown extra."""
    pages = [README, INSTALL, *(p.read_text(encoding="utf-8") for p in ROOT.glob("docs/**/*.md"))]
    commands = re.findall(r"pip install (?:-\w+ )*'(.*?)\[(\w+)\]'", "\n".join(pages))
    assert len(commands) > 8
    assert {where for where, _ in commands} == {"."}
    assert {extra for _, extra in commands} <= EXTRAS


def test_page_of_the_first_run_names_every_extra() -> None:
    """The table of extras has the extras of the package, and no others."""
    page = (ROOT / "docs/train/first-run.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", page.partition("## Extras")[2], re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    assert sorted(named) == sorted(EXTRAS)
