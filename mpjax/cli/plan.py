"""`mpjax plan`: cost of a step on a TPU slice."""

from __future__ import annotations

import argparse
import json

from mpjax.cli.arguments import FIELDS, add_field, add_recipe, require, topics, train_config
from mpjax.config.train import PRUNING

HELP = "memory, time and traffic of a step on a TPU slice, compiled for it without one"
EXAMPLE = (
    "mpjax plan --topology v5e:4x4 --model bert-base-uncased --task squad \\\n"
    "    --batch-size 256 --max-length 384 --mesh fsdp=16 --dtype bfloat16 --scan-layers"
)


# Options of train that change the cost of a step.
PLANNED = (
    "model", "task", "method", "density", "final_lambda", "regularization", "lambda_ramp",
    "structure", "scope", "published_cut", "batch_size", "max_length", "dtype", "accumulate",
    "mesh", "remat", "scan_layers", "train_embeddings", "freeze", "score_optimizer", "prune_every",
    "dense_gradient", "plugin", "rule_option",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of plan."""
    parser.add_argument(
        "--topology",
        metavar="CHIP:AxB",
        help="TPU slice to compile for: v4:2x2x4, v5e:4x4, v5p:2x2x4, v6e:4x4, ... (required)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="folder or config.json (no weights are read), or a well-known name such as "
        "bert-base-uncased (required)",
    )
    group = topics(parser)
    add_recipe(group(PRUNING))
    for name in PLANNED[1:]:
        add_field(group(FIELDS[name].metadata.get("topic", "")), FIELDS[name])
    parser.add_argument(
        "--full-effort",
        action="store_true",
        help="compile as train does, which takes minutes; the quick compilation fuses less and "
        "mostly overstates memory and traffic",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")


def run(args: argparse.Namespace) -> None:
    """Compiles the step and prints its cost."""
    require(args.topology, "--topology", "plan")
    from mpjax.planning.plan import plan_step
    from mpjax.planning.show import format_plan, to_json

    made = plan_step(train_config(args, PLANNED), args.topology, args.full_effort)
    args.fits = made.fits
    print(json.dumps(to_json(made), indent=2) if args.json else format_plan(made))
