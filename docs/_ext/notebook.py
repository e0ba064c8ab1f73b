"""Sphinx extension: a notebook beside each page that ``notebooks`` in conf.py names.

``python docs/_ext/notebook.py PAGE.md NOTEBOOK.ipynb`` runs a notebook, and compares what its
cells show with what the page says. A page is its only source.
"""

import base64
import doctest
import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sphinx.application import Sphinx

INSTALL = (
    "This notebook needs purenet with the extra `testing`: `pip install '.[testing]'` in a clone "
    "of purenet."
)
LINK = '<p><a download href="{}.ipynb">Download this page as a notebook</a></p>'
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE  # as in pyproject.toml


class Cell(NamedTuple):
    """A cell: of code, with what it shows by its page, or of Markdown, with None."""

    source: str
    want: str | None


def cells(page: Path) -> Iterator[Cell]:
    """Cut a page into cells. A cell of code ends where the page shows a result.

    It raises ValueError for what it cannot convert: code in other fences, and pictures but SVG.
    """
    for part in re.split(
        r"^(```pycon\n.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S
    ):
        if not part.startswith("```pycon\n"):
            if part.strip():
                yield Cell(standing_alone(part.strip(), page.parent), None)
            continue
        source = ""
        for example in doctest.DocTestParser().get_examples(part):
            source += example.source
            if example.want:
                yield Cell(source.rstrip(), example.want)
                source = ""
        if source:
            yield Cell(source.rstrip(), "")


def standing_alone(markdown: str, folder: Path) -> str:
    """Put pictures into the text, and leave the words of links to other files."""

    def picture(match: re.Match[str]) -> str:
        data = base64.b64encode((folder / match[2]).read_bytes()).decode()
        # JupyterLab shows no SVG that is an attachment.
        return f'<img alt="{html.escape(match[1])}" src="data:image/svg+xml;base64,{data}">'

    markdown = re.sub(r"!\[([^\]]*)\]\(([^)]+\.svg)\)", picture, markdown)
    if lost := re.search(r"!\[.*|.*```pycon", markdown):
        raise ValueError(f"a notebook cannot have {lost[0]!r}")
    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:)[^)]*\)", r"\1", markdown)


def convert(page: Path) -> Any:
    """Return the notebook of a page."""
    import nbformat  # noqa: PLC0415  # an optional library
    from nbformat import v4  # noqa: PLC0415

    made = [v4.new_markdown_cell(INSTALL)]
    for source, want in cells(page):
        made.append(v4.new_markdown_cell(source) if want is None else v4.new_code_cell(source))
    for i, cell in enumerate(made):
        cell["id"] = f"cell-{i}"  # or else it is drawn at random
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = v4.new_notebook(cells=made, metadata={"kernelspec": kernel})
    nbformat.validate(notebook)
    return notebook


def check(page: Path, notebook: Path) -> None:
    """Run a notebook; refuse one that fails, or shows something else than its page."""
    import nbformat  # noqa: PLC0415  # an optional library
    from nbclient import NotebookClient  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    quiet = Config({"KernelManager": {"transport": "ipc"}})  # of TCP the kernel warns
    run = NotebookClient(nbformat.read(notebook, as_version=4), config=quiet, timeout=600).execute()
    shown = [
        "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)
        for cell in run.cells
        if cell.cell_type == "code"
    ]
    said = [(source, want) for source, want in cells(page) if want is not None]
    for (source, want), got in zip(said, shown, strict=True):
        if not doctest.OutputChecker().check_output(want, got and got + "\n", FLAGS):
            sys.exit(f"{notebook}: the cell\n\n{source}\n\nshows\n\n{got}\n\nand not\n\n{want}")


def link(app: "Sphinx", name: str, _: str, context: dict[str, Any], __: Any) -> None:
    """Put a link to the notebook under the title of its page."""
    if name in app.config.notebooks:
        place = LINK.format(name.rpartition("/")[2])
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{place}", 1)


def write(app: "Sphinx", exception: Exception | None) -> None:
    """Write each notebook beside its page."""
    import nbformat  # noqa: PLC0415  # an optional library

    if exception is None and app.builder.format == "html":
        for name in app.config.notebooks:
            nbformat.write(convert(app.srcdir / f"{name}.md"), app.outdir / f"{name}.ipynb")


def setup(app: "Sphinx") -> dict[str, Any]:
    app.add_config_value("notebooks", [], "html")
    app.connect("html-page-context", link)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    check(Path(sys.argv[1]), Path(sys.argv[2]))
