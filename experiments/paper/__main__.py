"""The command line of `experiments.paper`; see the package for examples."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import experiments.paper as package
from experiments import commandline
from experiments.paper import listing, published, recipe
from mpjax.config.checks import DENSE
from mpjax.errors import InputError
from mpjax.pages.reading.published import RANKED

RESULTS = "experiments/results"


def build_parser() -> argparse.ArgumentParser:
    """Parser of all commands."""
    parser = commandline.Parser(
        prog="python -m experiments.paper",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    show = commands.add_parser(
        "list", help="print a table of the published runs", allow_abbrev=False
    )
    show.add_argument("--task", choices=published.TASKS)
    show.add_argument("--method", choices=published.METHODS)
    show.add_argument("--scope", choices=published.SCOPES, help="magnitude and movement only")
    show.add_argument(
        "--distilled", action=argparse.BooleanOptionalAction, help="runs with a teacher, or without"
    )
    show.add_argument("--json", action="store_true", help="print every column, as JSON")
    show.set_defaults(run=_list)

    run = commands.add_parser("run", help="repeat a published run", allow_abbrev=False)
    run.add_argument("id", metavar="ID")
    run.add_argument("--model", default=recipe.MODEL, help="(default: %(default)s)")
    run.add_argument("--data", help="folder of the task's data (default: from the hub)")
    run.add_argument("--output", help="run folder (default: runs/ID)")
    run.add_argument(
        "--teacher",
        help="fine-tuned model of a distilled run (default: the finished TASK-dense run beside "
        "the output)",
    )
    run.add_argument(
        "--scale", type=float, default=1.0, metavar="S",
        help="train on this share of the rows, in (0, 1], with a schedule of the same shape",
    )  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="print the command and stop")
    run.set_defaults(run=_run)

    compare = commands.add_parser(
        "compare", help="print our runs beside the published ones", allow_abbrev=False
    )
    compare.add_argument(
        "--results", nargs="+", type=Path, default=[Path(RESULTS)], metavar="DIR",
        help=f"folders with run folders or receipts (default: {RESULTS})",
    )  # fmt: skip
    compare.add_argument("--plot", metavar="FILE.png", help="also draw scores over densities")
    compare.add_argument("--markdown", action="store_true", help="print Markdown tables")
    compare.set_defaults(run=_compare)

    receipt = commands.add_parser(
        "receipt", help="write the facts of a finished run to a small file", allow_abbrev=False
    )
    receipt.add_argument("folder", metavar="RUN", help="folder of a finished run")
    receipt.add_argument("--output", required=True, metavar="FILE.json")
    receipt.set_defaults(run=_receipt)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, 2 for a mistake in the input."""
    return commandline.run(build_parser(), argv)


def _list(args: argparse.Namespace) -> None:
    chosen = list(published.select(args.task, args.method, args.scope, args.distilled))
    if not chosen:
        raise InputError("no published run has all of these options; leave out an option of: list")
    if args.json:
        print(json.dumps(listing.as_json(chosen), indent=2))
    else:
        print(listing.table(chosen))


def _run(args: argparse.Namespace) -> int:
    run = published.get(args.id)
    if args.teacher and not run.distilled:
        raise InputError(f"--teacher does not apply to {run.id}: it is not distilled")
    places = recipe.Places(args.model, args.data, args.output, args.teacher)
    values = recipe.options(run, places, args.scale)
    if run.method in RANKED:
        said, final = float(run.settings["final_threshold"]), values["final_threshold"]
        if said != final:
            print(f"note: the sheet says threshold {said:g} and {run.remaining:g}% remaining for "
                  f"{run.id}; it is run at {final:g}", file=sys.stderr)  # fmt: skip
    if args.dry_run:
        print(recipe.command(values))
        return 0
    if run.distilled and args.teacher is None and not Path(values["teacher"]).is_dir():
        raise InputError(
            f"--teacher is missing and {values['teacher']} is not there: {run.id} is distilled. "
            f"Run {run.task}-{DENSE} first, or give a fine-tuned model"
        )
    from mpjax import cli

    return cli.main(recipe.words(values))


def _compare(args: argparse.Namespace) -> None:
    from experiments.paper import compare, finished, plot

    runs = finished.find(*args.results)
    if args.plot:
        plot.draw(runs, Path(args.plot))
    print(compare.report(runs, args.markdown))


def _receipt(args: argparse.Namespace) -> None:
    from experiments.paper import receipt

    print(receipt.write(Path(args.folder), Path(args.output)))


if __name__ == "__main__":
    sys.exit(main())
