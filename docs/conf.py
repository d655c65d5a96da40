"""Settings of the documentation site: `sphinx-build -W docs OUTPUT`."""

import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]  # ours, and the mpjax of this checkout
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # autodoc imports jax; no page needs an accelerator

from pygments.lexers.special import TextLexer  # noqa: E402

import mpjax  # noqa: E402

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
    "mathml",
    "outside",
]
exclude_patterns = ["_ext"]

html_theme = "furo"
html_title = f"mpjax {release}"
html_static_path = ["_static"]
html_css_files = ["mpjax.css"]
html_theme_options = {"top_of_page_buttons": []}
html_math_renderer = "mathml"
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
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88


def short_signatures(app, what, name, obj, options, signature, returns):
    """Signatures without 80 options, and with arrays by the name under which they are known."""
    if name == "mpjax.TrainConfig":
        return "(**options)", None

    def short(part):
        part = (part or "").replace("jaxlib._jax.Array", "Array")
        return re.sub(r"<[^<>]*(<[^<>]*>)?[^<>]*>", "...", part) or None  # defaults without a name

    return short(signature), short(returns)


def setup(app):
    """Shows data files as plain text, for which Pygments has no lexers, and short signatures."""
    for language in ("csv", "tsv", "jsonl"):
        app.add_lexer(language, TextLexer)
    app.connect("autodoc-process-signature", short_signatures)
