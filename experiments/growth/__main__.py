"""The command line of `experiments.growth`; see the package."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import experiments.growth as package
from experiments import commandline
from experiments.growth.axes import AXES, SHORT
from experiments.growth.show import draw, table
from experiments.paper.plot import panels
from experiments.paper.receipt import without_paths
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.runs.provenance import provenance

ONE_POINT = "from experiments.growth.axes import measured; measured({!r}, {!r}, {})"
DEVICES = "--xla_force_host_platform_device_count=8"


def build_parser() -> argparse.ArgumentParser:
    """Parser of the command."""
    parser = commandline.Parser(
        prog="python -m experiments.growth",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--axes", default=",".join(AXES), metavar="AXIS,…", help="(default: %(default)s)")
    add("--rounds", type=int, default=5, metavar="N", help="of each time (default: %(default)s)")
    add("--json", metavar="FILE", help="file for the numbers")
    add("--from", dest="source", metavar="FILE", help="file of numbers to show; measures nothing")
    add("--output", metavar="FILE.png", help="picture; or .pdf, .svg")
    parser.set_defaults(run=_run)
    return parser


def _run(args: argparse.Namespace) -> None:
    unknown = set(args.axes.split(",")) - set(AXES)
    if unknown:
        raise InputError(f"--axes names {', '.join(sorted(unknown))}; there are {', '.join(AXES)}")
    if args.output:
        panels(1, "--output", Path(args.output))  # refuses what cannot be drawn before hours pass
    if args.source and args.json:
        raise InputError("--json writes what is measured, and --from measures nothing; drop one")
    if args.rounds < 1:
        raise InputError(f"--rounds is {args.rounds}; it must be at least 1")
    if args.source:
        found = read_object(Path(args.source)).get("axes", {})
        if not found or set(found) - set(AXES):
            raise InputError(f"--from {args.source} is no file that --json has written")
    else:
        found = _measure_all(args.axes.split(","), args.rounds, args.json and Path(args.json))
    print(table(found))
    if args.output and any(found.values()):
        print(f"wrote {draw(found, Path(args.output))}", file=sys.stderr)


def _measure_all(names: Sequence[str], rounds: int, file: Path | None) -> dict[str, Any]:
    """Rows of every axis; written to the file after every point."""
    about = {**without_paths(provenance()), "cpus": os.cpu_count(), "rounds": rounds}
    found: dict[str, Any] = {name: [] for name in names}
    for name in names:
        for at in AXES[name].points:
            found[name] += _measure(name, at, rounds)
            if file:
                write_json(file, {"provenance": about, "axes": found})
    return found


def _measure(axis: str, at: float, rounds: int) -> list[dict[str, Any]]:
    """Row of a point of an axis; none where memory is short, which is said.

    Raises:
      InputError: the process that measures it failed.
    """
    code = ONE_POINT.format(axis, (at,), rounds)
    flags = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"
    devices = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    env = {**os.environ, **(devices if axis == "devices" else {})}
    process = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, env=env)
    if process.returncode not in (0, SHORT, -signal.SIGKILL):
        raise InputError(f"{axis} {at}: its process ended with status {process.returncode}")
    rows = [json.loads(process.stdout.splitlines()[-1])] if process.returncode == 0 else []
    print(axis, at, *map(json.dumps, rows or ["left out"]), file=sys.stderr, flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return commandline.run(build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
