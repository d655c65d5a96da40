"""`mpjax evaluate`: score a run or a model."""

from __future__ import annotations

import argparse
import dataclasses
import json

from mpjax.cli.arguments import (
    FIELDS,
    add_field,
    add_overwrite,
    add_own_data,
    add_threshold,
    require,
    use_cache,
)
from mpjax.config.evaluate import RUNTIMES, EvaluateConfig
from mpjax.config.train import DTYPES

HELP = "score a run or a model folder; JSON on stdout"
EXAMPLE = "mpjax evaluate --model runs/sst2-movement-10 --task sst2 --data glue/SST-2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of evaluate."""
    parser.add_argument(
        "--model", help="run folder, model folder, packed model or hub name (required)"
    )
    parser.add_argument("--task", help="task (default: the run's task)")
    parser.add_argument("--data", help="folder or file of the task's data (default: the run's)")
    parser.add_argument(
        "--batch-size", type=int, default=64, help="rows per step (default: %(default)s)"
    )
    parser.add_argument(
        "--max-length", type=int, help="tokens per row (default: the run's, else 128)"
    )
    parser.add_argument("--limit", type=int, help="score the first N rows of the dev file only")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=(*DTYPES, "auto"),
        help="compute dtype; auto: bfloat16 where the devices multiply it faster "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--runtime",
        default="dense",
        choices=RUNTIMES,
        help="dense (JAX), or sparse: on the CPU, encoder matrices in CSR where that is faster; "
        "the same scores (default: %(default)s)",
    )
    parser.add_argument(
        "--predictions", metavar="FILE", help="also write predictions, in the format of mpjax score"
    )
    parser.add_argument(
        "--labels",
        metavar="A,B,C",
        help="the task's labels in the order of the model's classes, where its folder does not "
        "name them",
    )
    add_own_data(parser, "default: the run's, else the obvious one")
    add_overwrite(parser, "a file of predictions")
    add_threshold(parser)
    for name in ("plugin", "repair", "cache"):
        add_field(parser, FIELDS[name])


def run(args: argparse.Namespace) -> None:
    """Scores, and prints the scores as JSON."""
    require(args.model, "--model", "evaluate")
    names = [field.name for field in dataclasses.fields(EvaluateConfig)]
    config = EvaluateConfig(**{name: getattr(args, name) for name in names})
    from mpjax.training.evaluate import Unwritten, evaluate

    use_cache(args.cache)
    try:
        result = evaluate(config)
    except Unwritten as error:
        print(json.dumps(error.result, indent=2), flush=True)
        raise
    print(json.dumps(result, indent=2))
