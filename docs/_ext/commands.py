"""Sphinx extension: the help of every command, from the parser itself."""

import argparse
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from purenet.cli.commands import make_parser


class Commands(Directive):
    """Show each command as a section with its help."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        (commands,) = (
            action
            for action in make_parser()._actions
            if isinstance(action, argparse._SubParsersAction)
        )
        sections: list[nodes.Node] = []
        for name, parser in commands.choices.items():
            section = nodes.section(ids=[f"purenet-{name}"])
            section += nodes.title(text=f"purenet {name}")
            parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
            text = parser.format_help()
            section += nodes.literal_block(text, text, language="text")
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
