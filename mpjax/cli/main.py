"""Parse, run one command, turn mistakes into one sentence and an exit status."""

from __future__ import annotations

import argparse
import difflib
import io
import itertools
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from mpjax import __version__
from mpjax.cli import (
    completion,
    evaluate,
    export,
    inspect,
    pack,
    plan,
    push,
    quickstart,
    recipes,
    report,
    score,
    shrink,
    sweep,
    train,
    unpack,
)
from mpjax.cli.arguments import naming_recipe
from mpjax.cli.parsing.common import add_common, set_talk
from mpjax.cli.parsing.next_steps import say_next
from mpjax.disk import refused
from mpjax.errors import InputError, plain
from mpjax.hostmemory import keep_freed_memory
from mpjax.log import Notes

# Commands in the order of the help. Each has HELP, EXAMPLE, add_arguments(parser) and run(args).
COMMANDS: dict[str, ModuleType] = {
    "quickstart": quickstart,
    "train": train,
    "recipes": recipes,
    "plan": plan,
    "sweep": sweep,
    "evaluate": evaluate,
    "score": score,
    "inspect": inspect,
    "report": report,
    "export": export,
    "shrink": shrink,
    "pack": pack,
    "unpack": unpack,
    "push": push,
    "completion": completion,
}


EPILOG = """\
mpjax COMMAND --help shows the options of a command. Start with: mpjax quickstart

Results go to stdout, everything else to stderr. Exit codes:
  0        done
  1        a fault of mpjax itself, with its traceback
  2        a mistake in options, files or data, a full disk, a hub that refuses: one sentence
  130 143  interrupted (Ctrl-C), terminated: 128 + the number of the signal (141: a closed pipe)"""


class _Parser(argparse.ArgumentParser):
    """Raises InputError instead of leaving the process, so that all mistakes read alike."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see: {self.prog} --help)")


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and the parsers of the commands by name."""
    parser = _Parser(
        prog="mpjax",
        allow_abbrev=False,
        description="Movement pruning of pretrained transformers in JAX and Flax.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="mpjax COMMAND [OPTION ...]",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", prog="mpjax", parser_class=_Parser
    )
    known: dict[str, argparse.ArgumentParser] = {}
    for name, command in COMMANDS.items():
        text = command.HELP
        known[name] = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(known[name])
        add_common(known[name])
        known[name].usage = _usage(known[name])
    known["completion"].set_defaults(whole=parser, commands=known)
    return parser, known


def _usage(parser: argparse.ArgumentParser) -> str:
    """Usage with the places alone: train has 80 options, which the help lists by topic."""
    places = [action for action in parser._actions if not action.option_strings]
    return " ".join([parser.prog, *(str(action.metavar) for action in places), "[OPTION ...]"])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Arguments as a namespace; InputError proposes the option that was probably meant.

    ``given`` of the namespace holds the names of the options that stand on the command line, or in
    the file of ``--config``.
    """
    parser, known = build_parser()
    words = sys.argv[1:] if argv is None else list(argv)
    _check_values(words)
    flags = {word.split("=")[0] for word in words if word.startswith("--")}
    if "--config" in flags:
        from mpjax.cli.parsing.config_file import relax

        for command in known.values():
            relax(command)
    args, unknown = parser.parse_known_args(words)
    actions = known[args.command]._actions if args.command else []
    args.given = {action.dest for action in actions if flags & set(action.option_strings)}
    if unknown:
        options = known[args.command]._option_string_actions if args.command else ["--version"]
        wrong = next((word for word in unknown if word.startswith("-")), unknown[0])
        near = difflib.get_close_matches(wrong.split("=")[0], options, n=1)
        hint = f"did you mean {near[0]}?" if near else f"see: mpjax {args.command or ''} --help"
        raise InputError(f"unknown option {wrong}; {hint}")
    if {"steps", "epochs"} <= args.given:
        raise InputError(
            f"--steps {args.steps} beside --epochs {args.epochs:g}: both are the length of the "
            "run; give one of them"
        )
    if args.command and "--config" in flags:
        from mpjax.cli.parsing.config_file import take_config

        take_config(known[args.command], args)
    return args


def _check_values(words: Sequence[str]) -> None:
    """Raises `InputError` for `--option=--`, which argparse reads as an option with no value.

    Before Python 3.12.5 it then gives the option an empty list, whatever its type.
    """
    for word in itertools.takewhile(lambda word: word != "--", words):
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and equals and value == "--":
            raise InputError(f"{flag} is '--', which is no value; give {flag}=VALUE")


def escape_output() -> None:
    """Makes stdout escape what its encoding lacks: names that are not UTF-8, λ in ASCII."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, as `EPILOG` says it."""
    notes = Notes(sys.stderr)  # of this call: stdout is for results
    notes.setFormatter(logging.Formatter("mpjax: %(message)s"))
    log = logging.getLogger("mpjax")
    log.addHandler(notes)
    log.setLevel(logging.INFO)
    log.propagate = False  # libraries give the root logger handlers of their own
    # transformers says on import that PyTorch is missing; mpjax needs none.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    escape_output()
    keep_freed_memory()  # before JAX starts its threads
    try:
        args = parse(argv)
        if args.version:
            print(__version__)
        elif args.command is None:
            build_parser()[0].print_help()
        else:
            set_talk(notes, args)
            with naming_recipe(args):
                COMMANDS[args.command].run(args)
            sys.stdout.flush()  # before the notes: in a terminal both are one text
            say_next(args)
        sys.stdout.flush()
    except InputError as error:
        log.debug("the error comes from here", exc_info=True)
        print(f"mpjax: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"mpjax: {stop or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(stop, "signal", signal.SIGINT)
    except BrokenPipeError:
        # The reader has gone; Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:  # a full disk, a read-only folder: wherever it was met
        print(f"mpjax: error: {plain(_about(error))}", file=sys.stderr)
        return 2
    finally:
        log.removeHandler(notes)
        log.propagate = True
    return 0


def _about(error: OSError) -> str:
    """One sentence about an error that no command has caught, with its file."""
    if error.filename is None:  # printed results, most likely
        return f"output cannot be written: {error.strerror or error}"
    return refused(os.fsdecode(error.filename), error)
