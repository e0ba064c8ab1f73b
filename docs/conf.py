"""Sphinx configuration of the site: ``sphinx-build -W docs site``."""

import sys
from pathlib import Path

import purenet

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "purenet"
author = "The purenet developers"
release = version = purenet.__version__
copyright = author  # noqa: A001  # Sphinx's name

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "commands",
    "mathml",
]
html_math_renderer = "mathml"
exclude_patterns = ["Thumbs.db"]
html_theme = "furo"
html_title = "purenet"
html_show_sphinx = False
html_copy_source = False
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
autosummary_generate = True
numpydoc_show_class_members = False
templates_path: list[str] = []
