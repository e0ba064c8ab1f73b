"""Sphinx extension: equations as MathML, which browsers set without a program or a font."""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def to_mathml(equation: str, display: str = "inline") -> str:
    """Convert an equation, in which ⊙, ← and ⋯ are operators, with space around them."""
    return re.sub("<mi>([⊙←⋯])</mi>", r"<mo>\1</mo>", convert(equation, display=display))


def visit_inline(self: Any, node: nodes.math) -> None:
    self.body.append(to_mathml(node.astext()))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{to_mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True}
