"""Options of every command, and how much it talks."""

from __future__ import annotations

import argparse
import logging

_SWITCH = argparse._StoreTrueAction


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds ``--config``, ``--quiet`` and ``--verbose``, and a hidden ``--no-X`` for each switch.

    The hidden ones switch off what the file of ``--config`` switches on.
    """
    for action in [action for action in parser._actions if isinstance(action, _SWITCH)]:
        flags = [f"--no-{flag[2:]}" for flag in action.option_strings if flag.startswith("--")]
        parser.add_argument(
            *flags,
            dest=action.dest,
            action="store_false",
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )
    group = parser.add_argument_group("every command")
    group.add_argument(
        "--config",
        metavar="FILE",
        help="options from a YAML or JSON file, as density: 0.1, or a run's config.json; options "
        "given here override it, and --no-X switches X off",
    )
    talk = group.add_mutually_exclusive_group()
    talk.add_argument(
        "--quiet", action="store_true", help="warnings and errors only on stderr, no progress bar"
    )
    talk.add_argument(
        "--verbose",
        action="store_true",
        help="more on stderr: the time of every note, and where an error comes from",
    )


def set_talk(handler: logging.Handler, args: argparse.Namespace) -> None:
    """Makes the notes of a command as loud as its options say."""
    if args.quiet:
        handler.setLevel(logging.WARNING)
        logging.getLogger("mpjax").setLevel(logging.WARNING)
    if args.verbose:
        logging.getLogger("mpjax").setLevel(logging.DEBUG)
        handler.setFormatter(logging.Formatter("%(asctime)s mpjax: %(message)s", "%H:%M:%S"))
