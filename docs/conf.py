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
    "notebook",
    "typesetting",
]
html_math_renderer = "mathml"
exclude_patterns = ["Thumbs.db"]
html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"  # no underlines, which look like links
html_title = "purenet"
html_use_index = False
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
smartquotes = False  # messages keep the quotation marks that Python prints
html_copy_source = False
notebooks = ["learn/backpropagation"]
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
autodoc_typehints = "none"  # the docstrings have types, shapes and units
autodoc_preserve_defaults = True
autosummary_generate = True
numpydoc_show_class_members = False
templates_path: list[str] = []
