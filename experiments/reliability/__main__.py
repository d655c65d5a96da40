"""The command line of `experiments.reliability`; see the package."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import experiments.reliability as package
from experiments.commandline import Parser, run
from experiments.reliability import report

DEFAULT = Path("experiments/results/reliability.json")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one part, or all; returns 1 if a promise was broken."""
    return run(build_parser(), argv)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all parts."""
    parser = Parser(
        prog="python -m experiments.reliability",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    for name, function in {"fuzz": _fuzz, "replay": _replay}.items():
        command = commands.add_parser(name)
        command.set_defaults(run=function)
        add = command.add_argument
        add("--work", type=Path, help="folder to work in and to keep failing inputs (temporary)")
        if name == "replay":
            add("file", type=Path)
            continue
        add("--seed", type=int, default=0)
        add("--output", type=Path, help="also write the numbers to this JSON file")
        if name in ("fuzz", "all"):
            add("--inputs", type=_count, default=40_000, help="(default: %(default)s)")
            add("--only", type=_words, default=[], help="targets, with commas (default: all)")
            add("--workers", type=_count, default=os.cpu_count() or 1, help="processes")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a whole number from 1")
    return int(text)


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


@contextlib.contextmanager
def _folder(args: argparse.Namespace) -> Iterator[Path]:
    """Folder to work in."""
    if args.work is not None:
        args.work.mkdir(parents=True, exist_ok=True)
        yield args.work.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="reliability-") as made:
        yield Path(made)


# Each imports its part when called: some of them start jax.


def _fuzz(args: argparse.Namespace) -> int:
    from experiments.reliability import fuzz

    with _folder(args) as folder:
        found = fuzz.fuzz(folder, args.inputs, args.seed, args.only, args.workers)
        print(report.of_inputs(found))
        if found["failures"] and args.work is not None:
            print(f"replay them: python -m experiments.reliability replay {folder / 'failures'}/…")
    return report.finish({"inputs": found}, args.output)


def _replay(args: argparse.Namespace) -> int:
    from experiments.reliability import fuzz

    with _folder(args) as folder:
        outcome = fuzz.replay(args.file, folder)
    print(f"{outcome.kind}: {outcome.message}")
    return int(outcome.kind not in ("ok", "refused"))


if __name__ == "__main__":
    sys.exit(main())
