"""Claims of the notebooks: they say and compute what their pages do."""

import ast
import base64
import re
from pathlib import Path

import pytest

from docs._ext.notebook import Cell, cells

TUTORIAL = Path(__file__).parents[2] / "docs" / "learn" / "backpropagation.md"

PAGE = """\
# Title

See [the other page](other.md#part) and [a site](https://example.org/a).

![A "dot"](dot.svg)

```pycon
>>> x = 1
>>> def twice(x):  # >>> is no prompt here
...     return 2 * x
>>> twice(x)
2
>>> print("a\\n")
a
<BLANKLINE>
>>> y = x

```

```python
x = ...
```
"""


def test_a_cell_of_code_ends_where_the_page_shows_a_result(tmp_path: Path) -> None:
    """It has no prompts and no results, and Markdown stays as it is, with other code in it."""
    (tmp_path / "dot.svg").write_text("<svg/>")
    (tmp_path / "page.md").write_text(PAGE)
    first, *code, last = cells(tmp_path / "page.md")
    assert first.source.startswith("# Title\n\nSee ")
    assert code == [
        Cell("x = 1\ndef twice(x):  # >>> is no prompt here\n    return 2 * x\ntwice(x)", "2\n"),
        Cell('print("a\\n")', "a\n<BLANKLINE>\n"),
        Cell("y = x", ""),
    ]
    assert last == Cell("```python\nx = ...\n```", None)


def test_a_cell_of_markdown_stands_alone(tmp_path: Path) -> None:
    """Pictures are in it, links to the site's files are their words, and other links stay."""
    (tmp_path / "dot.svg").write_bytes(b"<svg/>")
    (tmp_path / "page.md").write_text(PAGE)
    text = next(cells(tmp_path / "page.md")).source
    data = base64.b64encode(b"<svg/>").decode()
    assert "See the other page and [a site](https://example.org/a)." in text
    assert text.endswith(f'<img alt="A &quot;dot&quot;" src="data:image/svg+xml;base64,{data}">')


def test_a_lost_picture_is_an_error(tmp_path: Path) -> None:
    """A page whose picture is not there cannot be cut into cells."""
    (tmp_path / "page.md").write_text(PAGE)
    with pytest.raises(FileNotFoundError):
        list(cells(tmp_path / "page.md"))


@pytest.mark.parametrize("part", ["![dot](dot.png)", "    ```pycon\n    >>> 1\n    1\n    ```"])
def test_what_a_notebook_cannot_have_is_refused(tmp_path: Path, part: str) -> None:
    """Pictures of other formats and indented code would be lost without a word."""
    (tmp_path / "page.md").write_text(f"# Title\n\n{part}\n")
    with pytest.raises(ValueError, match="a notebook cannot have '"):
        list(cells(tmp_path / "page.md"))


def test_the_tutorial_is_a_notebook() -> None:
    """Its cells display the results of the page, and all its pictures are inside."""
    code = [cell for cell in cells(TUTORIAL) if cell.want is not None]
    for source, want in code:
        displays = isinstance(ast.parse(source).body[-1], ast.Expr)
        assert displays == bool(want), source
    text = "\n".join(source for source, want in cells(TUTORIAL) if want is None)
    page = TUTORIAL.read_text(encoding="utf-8")
    assert "\n".join(source for source, _ in code).count("\n") > 40
    assert text.count("<img ") == page.count("](../figures/") > 0
    assert not re.search(r">>>|\]\((?!https?:)", text)
