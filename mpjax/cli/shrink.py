"""`mpjax shrink`: remove dead heads and FFN units."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mpjax.cli.arguments import add_model, add_overwrite, add_threshold, require
from mpjax.config.checks import option
from mpjax.errors import InputError

HELP = "remove heads and FFN units that contribute only a constant: same logits, faster"
EXAMPLE = "mpjax shrink runs/sst2-hybrid --output sst2-small --measure"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of shrink."""
    add_model(parser, "model")
    parser.add_argument("--output", help="new folder for the model (required)")
    add_overwrite(parser, "a model")
    parser.add_argument("--json", action="store_true", help="print JSON, not tables")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="time the dense, masked and shrunk model on this device, on a CPU also in CSR",
    )
    for flag, default, text in (
        ("--batch-size", 16, "rows of a timed batch"),
        ("--max-length", 128, "tokens of a timed row"),
    ):
        parser.add_argument(flag, type=int, default=default, help=text + " (default: %(default)s)")
    add_threshold(parser)


def run(args: argparse.Namespace) -> None:
    """Writes the smaller model; prints removed parts and, on request, times."""
    require(args.output, "--output", "shrink")
    from mpjax.export import measure_latency, shrink_model

    for name in ("batch_size", "max_length"):
        if getattr(args, name) < 1:
            raise InputError(f"{option(name)} is {getattr(args, name)}; it must be at least 1")
    longest = args.max_length if args.measure else None
    report, masked, shrunk = shrink_model(
        args.model, args.output, threshold=args.threshold, longest=longest, overwrite=args.overwrite
    )
    parts: dict[str, Any] = {"removed": report}
    if args.measure:
        parts["latency"] = measure_latency(masked, shrunk, args.batch_size, args.max_length)
    if args.json:
        print(json.dumps({name: part.to_json() for name, part in parts.items()}, indent=2))
    else:
        print("\n\n".join(part.table() for part in parts.values()))
