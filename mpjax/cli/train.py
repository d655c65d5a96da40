"""`mpjax train`: fine-prune a model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mpjax.cli.arguments import (
    FIELDS,
    Parser,
    add_field,
    add_recipe,
    topics,
    train_config,
    use_cache,
)
from mpjax.config.resolve import resolve
from mpjax.config.train import DEVICES, PRUNING
from mpjax.log import log

HELP = "fine-prune (or fine-tune) a pretrained model; the same command again continues"
EXAMPLE = (
    "mpjax train --model google-bert/bert-base-uncased --task sst2 --data glue/SST-2 \\\n"
    "    --density 0.10 --output runs/sst2-10"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of train: the fields of `TrainConfig`, and the options of several processes."""
    group = topics(parser)
    add_recipe(group(PRUNING))
    for field in FIELDS.values():
        add_field(group(field.metadata.get("topic", "")), field)
    add_processes(group(DEVICES))


def add_processes(parser: Parser) -> None:
    """Options that join this process to others; not part of the config of a run."""
    parser.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="train together with processes on other hosts: host of process 0 and a free port "
        "there (default: as SLURM or the TPU slice say)",
    )
    parser.add_argument("--processes", type=int, metavar="N", help="total number of processes")
    parser.add_argument("--process-id", type=int, metavar="N", help="index of this process, from 0")


def run(args: argparse.Namespace) -> None:
    """Trains, and prints the result as JSON."""
    config = resolve(train_config(args))
    from mpjax.parallel.consensus import first  # most mistakes have ended before these imports
    from mpjax.parallel.processes import joined

    with joined(args.coordinator, args.processes, args.process_id):
        from mpjax.training.train import train_resolved

        use_cache(args.cache)
        result = train_resolved(config)
        args.leads = first()
        if args.leads:
            from mpjax.pages.write import write_after
            from mpjax.runs.folder import RunDir

            page = write_after([config.output], RunDir(Path(config.output)).report)
            print(json.dumps(result, indent=2))
            if page is not None:
                log.info("the report, a page for a browser: %s", page)
