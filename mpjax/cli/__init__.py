"""The command line: one file for each command. Nothing heavy is imported before a command runs."""

from mpjax.cli.main import COMMANDS, build_parser, main, parse

__all__ = ["COMMANDS", "build_parser", "main", "parse"]
