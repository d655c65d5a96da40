"""`mpjax completion`: completion of commands and options in a shell."""

from __future__ import annotations

import argparse

HELP = "print the script that completes commands and options in a shell"
EXAMPLE = 'eval "$(mpjax completion bash)"        # in ~/.bashrc; zsh alike in ~/.zshrc'
SHELLS = ("bash", "zsh", "fish")
# Options and places whose values are files or folders.
_PATHS = (
    "cache", "config", "data", "file", "fill_from", "folder", "model", "output", "predictions",
    "run", "runs", "teacher",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of completion."""
    parser.add_argument(
        "shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}"
    )


def run(args: argparse.Namespace) -> None:
    """Prints the script for the parser ``args.whole``, whose commands are ``args.commands``."""
    import shtab

    for command in args.commands.values():
        for action in command._actions:
            if action.dest in _PATHS and action.choices is None:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(args.whole, args.shell))
