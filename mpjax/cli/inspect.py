"""`mpjax inspect`: remaining weights per layer and matrix type."""

from __future__ import annotations

import argparse
import json

from mpjax.cli.arguments import add_model, add_threshold

HELP = "remaining weights of an encoder, per layer and matrix type"
EXAMPLE = "mpjax inspect runs/sst2-movement-10"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of inspect."""
    add_model(parser, "folder")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    add_threshold(parser)


def run(args: argparse.Namespace) -> None:
    """Prints densities as a table or JSON."""
    from mpjax.export.inspect import inspect_model

    density = inspect_model(args.folder, args.threshold)
    print(json.dumps(density.to_json(), indent=2) if args.json else density.table())
