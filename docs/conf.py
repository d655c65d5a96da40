"""Settings of the documentation site: `sphinx-build -W docs OUTPUT`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # autodoc imports jax; no page needs an accelerator

from pygments.lexers.special import TextLexer

import mpjax

project = "mpjax"
author = "the mpjax authors"
copyright = "the mpjax authors"  # the name that Sphinx reads
version = release = mpjax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "commands",
    "outside",
]
exclude_patterns = ["_ext"]

html_theme = "furo"
html_title = f"mpjax {release}"
html_static_path = ["_static"]
html_css_files = ["mpjax.css"]
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Commands without a language are shell lines; Pygments would mark options as operators.
highlight_language = "none"
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_exclude = ".linenos, .gp, .c1"

# Docstrings: Google style, formulas in single backticks or bare.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88


def setup(app):
    """Shows data files as plain text: Pygments has no lexers of these names."""
    for language in ("csv", "tsv", "jsonl"):
        app.add_lexer(language, TextLexer)
