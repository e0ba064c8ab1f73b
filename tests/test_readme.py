"""The README's Python, run as a reader would."""

import re
from pathlib import Path

import pytest

BLOCKS = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8"),
    re.DOTALL,
)


@pytest.mark.parametrize("block", BLOCKS, ids=["by hand", "with train"])
def test_block_runs_and_learns(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block runs by itself, and ends with at least 94 % of the test digits right."""
    exec(compile(block, "README.md", "exec"), {})
    last = capsys.readouterr().out.splitlines()[-1]
    found = re.search(r"accuracy'?:? (?P<number>[\d.]+)(?P<percent>%?)", last)
    assert found
    assert float(found["number"]) >= (94 if found["percent"] else 0.94)
