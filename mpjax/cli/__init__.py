"""The command line: one file for each command. Nothing heavy is imported before a command runs."""

from mpjax.cli.main import main

__all__ = ["main"]
