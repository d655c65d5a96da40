"""Directive `command-help`: the help of a command, as the parser prints it today."""

import os

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mpjax.cli.main import build_parser

WIDTH = "84"


class CommandHelp(SphinxDirective):
    """Help of a command of `mpjax`, or of `mpjax` itself without an argument."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        os.environ["COLUMNS"] = WIDTH
        whole, commands = build_parser()
        parser = commands[self.arguments[0]] if self.arguments else whole
        return [nodes.literal_block(parser.format_help(), parser.format_help(), language="none")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
