"""`mpjax pack`: one small file of the kept weights."""

from __future__ import annotations

import argparse
import json
import os

from mpjax.cli.arguments import add_model, add_overwrite, require

HELP = "write the kept weights of a model as one small file; mpjax reads it like a folder"
EXAMPLE = "mpjax pack runs/sst2-movement-10 --int8 --embeddings int8 --output model.mpz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of pack."""
    add_model(parser, "model")
    parser.add_argument("--output", metavar="FILE.mpz", help="new file (required)")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="linear layers in int8, one scale per output channel (default: bit for bit)",
    )
    parser.add_argument(
        "--embeddings",
        default="float32",
        choices=("float32", "float16", "int8"),
        help="float32: bit for bit; int8: one scale per row (default: %(default)s)",
    )
    add_overwrite(parser, "a file")
    parser.add_argument("--json", action="store_true", help="print the sizes as JSON, not a table")


def run(args: argparse.Namespace) -> None:
    """Writes the file and prints its sizes."""
    require(args.output, "--output", "pack")
    from mpjax.export import measure_packed, pack_model

    packed = pack_model(
        args.model,
        args.output,
        int8=args.int8,
        embeddings=args.embeddings,
        overwrite=args.overwrite,
    )
    sizes = measure_packed(packed, os.path.getsize(os.path.expanduser(args.output)))
    print(json.dumps(sizes.to_json(), indent=2) if args.json else sizes.table())
