"""`mpjax score`: official metrics of a prediction file."""

from __future__ import annotations

import argparse
import json

from mpjax.cli.arguments import FIELDS, add_field, require

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
    add_field(parser, FIELDS["plugin"])


def run(args: argparse.Namespace) -> None:
    """Prints the scores as JSON."""
    for name in ("task", "predictions"):
        require(getattr(args, name), f"--{name}", "score")
    from mpjax import plugins
    from mpjax.tasks.scoring import score_file

    plugins.load(args.plugin)
    print(json.dumps(score_file(args.task, args.data, args.predictions), indent=2))
