"""`mpjax unpack`: a plain folder from a packed model."""

from __future__ import annotations

import argparse

from mpjax.cli.arguments import add_overwrite, require

HELP = "write a packed model as a plain Hugging Face folder"
EXAMPLE = "mpjax unpack model.mpz --output sst2-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of unpack."""
    parser.add_argument("file", metavar="FILE.mpz", help="file that mpjax pack has written")
    parser.add_argument("--output", help="new folder for the model (required)")
    add_overwrite(parser, "a model")


def run(args: argparse.Namespace) -> None:
    """Writes the folder and prints its path."""
    require(args.output, "--output", "unpack")
    from mpjax.export import unpack_model

    print(unpack_model(args.file, args.output, overwrite=args.overwrite))
