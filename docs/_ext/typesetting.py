"""Sphinx extension: long names may break, and code does not end in a blank line."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def trim(_app: Sphinx, document: nodes.document) -> None:
    """Remove the blank line that ends a doctest in Markdown."""
    for block in document.findall(nodes.literal_block):
        if block.rawsource == block.astext():  # it has no markup
            block.rawsource = block.rawsource.rstrip()
            block.children = [nodes.Text(block.rawsource)]


def breaks(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _document: Any
) -> None:
    """Let names in code break after dots and underscores, as a phone needs."""
    if "body" in context:
        context["body"] = re.sub(
            r'(?<=<span class="pre">)[^<]+',
            lambda name: re.sub(r"(?<=\w)([._])(?=[a-z])", r"\1<wbr>", name[0]),
            context["body"],
        )


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", trim)
    app.connect("html-page-context", breaks)
    return {"parallel_read_safe": True}
