"""Parser and exit status of the commands of `experiments` that have subcommands."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from mpjax.errors import InputError


class Parser(argparse.ArgumentParser):
    """Raises `InputError` instead of leaving the process, so that all mistakes read alike."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see: {self.prog} --help)")


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Runs the command that the parser sets as ``run``; returns 2 for a mistake in the input."""
    try:
        args = parser.parse_args(argv)
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        print(f"{parser.prog.removeprefix('python -m ')}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has gone, and Python would complain when it flushes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
