"""The command line of `experiments.recipes`; see the package for examples."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import experiments.recipes as package
from experiments import commandline

RESULTS = "experiments/results/recipes"
TASKS = ("sst2", "mnli", "squad")  # folders of runs whose options and sizes are comparable


def build_parser() -> argparse.ArgumentParser:
    """Parser of all commands."""
    parser = commandline.Parser(
        prog="python -m experiments.recipes",
        description=package.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    table = _command(commands, "table", "print scores over densities by recipe and task", _table)
    _add_results(table)
    _add_forms(
        table,
        "one row for each task and density, one column for each recipe: mean ± half the range",
    )

    plot = _command(commands, "plot", "draw scores over densities by recipe and task", _plot)
    _add_results(plot)
    plot.add_argument("--output", required=True, metavar="FILE.png", help="or .pdf, .svg")

    search = _command(commands, "search", "list every set of options, the best first", _search)
    _add_results(search)
    _add_forms(search, "the same rows as Markdown tables")

    run = _command(commands, "run", "train one run of the comparison", _run)
    add = run.add_argument
    # fmt: off
    add("task", metavar="TASK", help="sst2, mnli, squad, qqp, rte or mrpc: decides rows and length")
    add("recipe", metavar="RECIPE", help="recipe (see: mpjax recipes) or method, such as dense")
    add("--density", type=float, metavar="X", help="fraction of the prunable weights to keep")
    add("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    add("--model", required=True, help="model folder or name on the Hugging Face hub")
    add("--data", metavar="DIR", help="folder of the task's data (default: from the hub)")
    add("--output", default="runs", metavar="ROOT",
        help="folder for the run folder, which is named by the run (default: %(default)s)")
    add("--limit-train", type=int, metavar="N", help="training rows (default: by the task)")
    add("--set", action="append", default=[], metavar="OPTION=VALUE",
        help="option of mpjax train that overrides the recipe; may be given several times")
    add("--dry-run", action="store_true", help="print the command and stop")
    # fmt: on

    cut = _command(
        commands, "cut", "cut a run's dense weights once, by its scores and others", _cut
    )
    cut.add_argument("folder", metavar="RUN", help="run of movement whose pruning has not begun")
    cut.add_argument("--model", required=True, help="folder of the model that the run began with")
    cut.add_argument("--data", required=True, metavar="DIR", help="folder of the task's data")
    cut.add_argument("--json", action="store_true", help="print every value, as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status, 2 for a mistake in the input."""
    return commandline.run(build_parser(), argv)


def _command(commands: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", nargs="+", type=Path, default=[Path(RESULTS, task) for task in TASKS],
        metavar="PATH", help="folders with run folders or receipts, or single receipts "
        f"(default: {', '.join(TASKS)} in {RESULTS})",
    )  # fmt: skip


def _add_forms(parser: argparse.ArgumentParser, markdown: str) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help=markdown)
    form.add_argument("--json", action="store_true", help="print every value, as JSON")


def _table(args: argparse.Namespace) -> None:
    from experiments.recipes import groups, runs, table

    found = groups.group(runs.read(*args.results))
    if args.json:
        print(json.dumps(table.as_json(found), indent=2))
    else:
        print(table.compact(found) if args.markdown else table.long(found))


def _search(args: argparse.Namespace) -> None:
    from experiments.recipes import groups, runs, table

    found = groups.group(runs.read(*args.results), apart=True)
    found.sort(key=lambda one: -one.mean)
    if args.json:
        print(json.dumps(table.as_json(found), indent=2))
    else:
        print(table.long(found, args.markdown))


def _plot(args: argparse.Namespace) -> None:
    from experiments.recipes import groups, plot, runs

    print(plot.draw(groups.group(runs.read(*args.results)), Path(args.output)))


def _cut(args: argparse.Namespace) -> None:
    import dataclasses

    from experiments.recipes import one_cut

    cuts = one_cut.measure(args.folder, args.model, args.data)
    if args.json:
        print(json.dumps([dataclasses.asdict(cut) for cut in cuts], indent=2))
    else:
        print(one_cut.table(cuts))


def _run(args: argparse.Namespace) -> int:
    from experiments.paper import recipe
    from experiments.recipes import launch

    chosen = launch.Launch(
        args.task, args.recipe, args.model, args.data, args.output, args.density, args.seed,
        args.limit_train, launch.changes(args.set),
    )  # fmt: skip
    values = launch.options(chosen)
    print(recipe.command(values), file=sys.stdout if args.dry_run else sys.stderr)
    if args.dry_run:
        return 0
    from mpjax import cli

    return cli.main(recipe.words(values))


if __name__ == "__main__":
    sys.exit(main())
