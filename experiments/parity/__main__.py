"""The command line of `experiments.parity`; see the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jax

import experiments.parity as package
from experiments.parity.case import case_files, load_case
from experiments.parity.replay import COLUMNS, passes, replay
from mpjax.errors import InputError
from mpjax.files import write_json


def main(argv: list[str] | None = None) -> int:
    """Prints a row per case; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.parity",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", type=Path, help="a NAME.json, or a folder of them")
    parser.add_argument("--json", type=Path, help="also write the differences to this file")
    args = parser.parse_args(argv)
    rows: dict[str, dict[str, float]] = {}
    try:
        files = case_files(args.cases)
        width = max(len(f.stem) for f in files)
        print(f"{'case':{width}}  " + "  ".join(f"{c:>10}" for c in COLUMNS))
        for file in files:
            with jax.enable_x64(True):
                row = replay(load_case(file))
            cells = [f"{row[c]:10.0f}" if c == "masks" else f"{row[c]:10.1e}" for c in COLUMNS]
            verdict = "" if passes(row) else "  FAIL"
            print(f"{file.stem:{width}}  {'  '.join(cells)}{verdict}", flush=True)
            rows[file.stem] = row
        if args.json:
            verdicts = {name: {**row, "passes": passes(row)} for name, row in rows.items()}
            write_json(args.json, verdicts)
    except InputError as error:
        print(f"experiments.parity: error: {error}", file=sys.stderr)
        return 2
    return 0 if all(passes(row) for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
