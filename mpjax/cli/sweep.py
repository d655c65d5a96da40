"""`mpjax sweep`: many runs as one program."""

from __future__ import annotations

import argparse
from pathlib import Path

from mpjax.cli.arguments import FIELDS, add_field, add_recipe, topics, train_config, use_cache
from mpjax.config.train import DEVICES, PRUNING, TrainConfig
from mpjax.errors import InputError
from mpjax.log import log

HELP = "train many densities, λ, learning rates and seeds as one program; table and plot"
EXAMPLE = (
    "mpjax sweep --model google-bert/bert-base-uncased --task sst2 --data glue/SST-2 \\\n"
    "    --method movement --density 0.15,0.10,0.05,0.03 --seeds 0,1,2 --output runs/sst2-curve"
)


# Fields that members of a sweep may differ in, and their options.
SWEPT = {
    "density": "--density",
    "final_lambda": "--final-lambda",
    "learning_rate": "--learning-rate",
    "score_learning_rate": "--score-learning-rate",
    "seed": "--seeds",
}
_NOT_SWEPT = ("devices", "mesh", "continue_with")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of train; the fields of `SWEPT` take several values."""
    group = topics(parser)
    add_recipe(group(PRUNING))
    for field in FIELDS.values():
        place = group(field.metadata.get("topic", ""))
        if field.name in SWEPT:
            flag = SWEPT[field.name]
            text = "several, with commas: " + field.metadata["help"]
            text += "" if field.default is None else f" (default: {field.default:g})"
            place.add_argument(flag, metavar="X,X,...", help=text)
        elif field.name not in _NOT_SWEPT:
            add_field(place, field)
    devices = group(DEVICES)
    devices.add_argument(
        "--devices", type=int, metavar="N", help="use the first N devices only (default: all)"
    )
    devices.add_argument(
        "--members-at-once", type=int, metavar="N", help="members trained together (default: all)"
    )
    devices.add_argument(
        "--memory", type=float, metavar="GB", help="memory to use (default: all that is free)"
    )


def run(args: argparse.Namespace) -> None:
    """Trains the members; prints their table and draws the curve."""
    base, axes = sweep_options(args)
    from mpjax.parallel.processes import refuse

    refuse("sweep")
    from mpjax.pages.write import write_after
    from mpjax.sweep import curve
    from mpjax.sweep.sweep import sweep

    use_cache(args.cache)
    rows = sweep(
        base, axes, devices=args.devices, members_at_once=args.members_at_once,
        memory=None if args.memory is None else args.memory * 1e9,
    )  # fmt: skip
    print(curve.table(rows, list(axes)))
    output = Path(base.output).expanduser()
    try:
        log.info("the curve: %s", curve.draw(rows, list(axes), output / "curve.png"))
    except InputError as error:
        log.warning("no picture: %s", error)
    log.info("a row for each member: %s", output / "result.json")
    members = [output / "members" / row["member"] for row in rows]
    if (page := write_after(members, output / "report.html")) is not None:
        log.info("the report, a page for a browser: %s", page)


def sweep_options(
    args: argparse.Namespace,
) -> tuple[TrainConfig, dict[str, tuple[float, ...]]]:
    """Config that all members share, and the values of each swept field."""
    axes = {
        field: _numbers(flag, getattr(args, flag[2:].replace("-", "_")), field == "seed")
        for field, flag in SWEPT.items()
    }
    base = train_config(args, FIELDS.keys() - SWEPT.keys() - set(_NOT_SWEPT))
    return base, {field: values for field, values in axes.items() if values}


def _numbers(flag: str, text: str | None, whole: bool) -> tuple[float, ...]:
    """Values of a swept option."""
    try:
        return tuple(int(x) if whole else float(x) for x in (text or "").split(",") if text)
    except ValueError as error:
        raise InputError(f"{flag} is {text!r}; give numbers with commas between them") from error
