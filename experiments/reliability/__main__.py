"""The command line of `experiments.reliability`; see the package."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import experiments.reliability as package
from experiments.commandline import Parser, run
from mpjax.errors import InputError
from mpjax.files import read_object, shown, write_json

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
    for name, (function, text) in PARTS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=function)
        add = command.add_argument
        add("--work", type=Path, help="folder to work in and to keep failing inputs (temporary)")
        if name == "replay":
            add("file", type=Path)
            continue
        add("--seed", type=int, default=0)
        add(
            "--output", type=Path, default=DEFAULT if name == "all" else None,
            help="JSON file; parts in it that are not measured stay (default: %(default)s)",
        )  # fmt: skip
        for option, (value, kind, meaning, parts) in OPTIONS.items():
            if name in (*parts, "all"):
                add(option, type=kind, default=value, help=meaning)
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


# Each imports its part when called: some of them start jax. A part prints its table and returns
# its numbers, with ``failures`` among them.


def _fuzz(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from experiments.reliability import fuzz

    found = fuzz.fuzz(folder, args.inputs, args.seed, args.only, args.workers)
    print(fuzz.as_table(found))
    if found["failures"] and args.work is not None:
        print(f"replay them: python -m experiments.reliability replay {folder / 'failures'}/…")
    return found


def _kills(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from experiments.reliability import kills

    return kills.kills(folder, args.kills, args.seed, args.variants)


def _flips(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from experiments.reliability import flips

    return _printed(flips.flips(folder, args.flips, args.seed))


def _soak(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from experiments.reliability import soak

    return _printed(soak.soak(folder, args.steps))


def _save(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from experiments.reliability import disk

    return _printed(disk.save_cost(folder))


def _part(args: argparse.Namespace) -> int:
    """Runs one part, or all of them."""
    names = MEASURES if args.command == "all" else {args.command: MEASURES[args.command]}
    # Before hours of measuring: a file that is not ours is refused, and the commit may change.
    _others(args.output, names)
    about = _about() if args.output is not None else {}
    with _folder(args) as folder:
        parts: dict[str, Any] = {}
        for name, measure in names.items():
            (own := folder / name).mkdir(parents=True, exist_ok=True)
            parts[name] = measure(args, own)
    if args.output is not None:
        _write(args.output, {name: {"provenance": about, **part} for name, part in parts.items()})
    return int(any(part.get("failures") for part in parts.values()))


def _replay(args: argparse.Namespace) -> int:
    from experiments.reliability import fuzz

    with _folder(args) as folder:
        outcome = fuzz.replay(args.file, folder)
    print(f"{outcome.kind}: {outcome.message}")
    return int(outcome.kind not in ("ok", "refused"))


def _printed(found: dict[str, Any]) -> dict[str, Any]:
    """Prints the numbers of a part as JSON, and returns them."""
    print(json.dumps(found, indent=1))
    return found


def _about() -> dict[str, Any]:
    """Command, commit, versions and hardware of a measurement."""
    from mpjax.runs.provenance import provenance

    about = {**provenance(), "command": sys.argv}
    del about["from_step"]
    return about


def _write(output: Path, parts: Mapping[str, Any]) -> None:
    """Writes parts to a file; others that it holds stay as they are."""
    from experiments.paper.receipt import without_paths

    found = {**_others(output, parts), **without_paths(dict(parts))}
    write_json(output, {name: found[name] for name in MEASURES if name in found})


def _others(output: Path | None, parts: Collection[str]) -> dict[str, Any]:
    """Parts of a file that was written before, without `parts`; {} if all are in `parts`.

    Raises:
      InputError: a file that is kept in part, and holds something else.
    """
    if output is None or not output.exists() or len(parts) == len(MEASURES):
        return {}
    found = read_object(output)
    if any(name not in MEASURES or not isinstance(part, dict) for name, part in found.items()):
        raise InputError(
            f"--output {shown(output)} holds something else than the parts {', '.join(MEASURES)}; "
            "give another file"
        )
    return {name: part for name, part in found.items() if name not in parts}


MEASURES: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "fuzz": _fuzz,
    "kills": _kills,
    "flips": _flips,
    "soak": _soak,
    "save": _save,
}
PARTS = {
    "fuzz": (_part, "damaged files and command lines"),
    "kills": (_part, "SIGKILL at random moments and at new files"),
    "flips": (_part, "flipped bits in checkpoints"),
    "soak": (_part, "memory of a long run"),
    "save": (_part, "cost of checkpoints"),
    "all": (_part, "all of these, to a JSON file"),
    "replay": (_replay, "reads a failing input of fuzz again"),
}
# Option: default, type, meaning, parts that have it.
OPTIONS: dict[str, tuple[Any, Any, str, tuple[str, ...]]] = {
    "--inputs": (40_000, _count, "(default: %(default)s)", ("fuzz",)),
    "--only": ([], _words, "targets, with commas (default: all)", ("fuzz",)),
    "--workers": (os.cpu_count() or 1, _count, "processes (default: %(default)s)", ("fuzz",)),
    "--kills": (12, _count, "of each variant (default: %(default)s)", ("kills",)),
    "--variants": ([], _words, "with commas (default: all)", ("kills",)),
    "--flips": (200, _count, "(default: %(default)s)", ("flips",)),
    "--steps": (1_000, _count, "(default: %(default)s)", ("soak",)),
}

if __name__ == "__main__":
    sys.exit(main())
