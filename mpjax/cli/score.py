"""`mpjax score`: official metrics of a prediction file."""

from __future__ import annotations

import argparse
import json

from mpjax.cli.arguments import FIELDS, add_field, add_own_data, require
from mpjax.config.checks import check_dev_share, check_no_split, check_seed_has_share
from mpjax.errors import InputError

HELP = "score a file of predictions by the official metrics; JSON on stdout"
EXAMPLE = "mpjax score --task squad --data squad/dev-v1.1.json --predictions predictions.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of score."""
    parser.add_argument("--task", help="task of the predictions (required)")
    parser.add_argument("--data", help="folder or file of the dev set (default: from the hub)")
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        help="questions: official predictions.json, id to text; sentences: a GLUE submission, "
        "index and prediction, .tsv or .jsonl, index = row of the dev set from 0 (required)",
    )
    add_own_data(parser, "default: the obvious one")
    parser.add_argument(
        "--labels",
        metavar="A,B,C",
        help="own data: all labels, where predictions have some that the data have not",
    )
    for name in ("plugin", "repair"):
        add_field(parser, FIELDS[name])


def run(args: argparse.Namespace) -> None:
    """Prints the scores as JSON."""
    for name in ("task", "predictions"):
        require(getattr(args, name), f"--{name}", "score")
    check_dev_share(args.dev_share, args.split_seed)
    from mpjax import plugins
    from mpjax.tasks.base import OWN, DataOptions
    from mpjax.tasks.own.labels import find_labels
    from mpjax.tasks.scoring import score_file

    plugins.load(args.plugin)
    if args.task not in OWN:
        check_no_split(args.task, args.dev_share, args.split_seed)
        if args.labels:
            raise InputError(
                f"--labels is for own data; {args.task} has labels of its own, leave it out"
            )
    else:
        check_seed_has_share(args.dev_share, args.split_seed)
    # In the order of names, so that binary scores are of one class however they are listed.
    labels = args.labels and find_labels(name.strip() for name in args.labels.split(","))
    options = DataOptions(
        args.text, args.label, args.dev_share, args.split_seed or 0, args.metric, labels or None
    )
    found = score_file(args.task, args.data, args.predictions, options, repair=args.repair)
    print(json.dumps(found, indent=2))
