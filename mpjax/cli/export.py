"""`mpjax export`: a plain Hugging Face folder."""

from __future__ import annotations

import argparse

from mpjax.cli.arguments import add_overwrite, add_threshold, require
from mpjax.errors import InputError

HELP = "write a run's model as a plain Hugging Face folder"
EXAMPLE = "mpjax export runs/sst2-movement-10 --output sst2-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of export."""
    parser.add_argument(
        "run",
        metavar="RUN_OR_MODEL",
        help="folder of a finished run or of a model (of a packed model: mpjax unpack)",
    )
    parser.add_argument("--output", help="new folder for the model (required)")
    add_overwrite(parser, "a model")
    parser.add_argument(
        "--with-scores",
        action="store_true",
        help="of a run: unmasked weights and scores, as the published PyTorch code saves them",
    )
    add_threshold(parser)


def run(args: argparse.Namespace) -> None:
    """Writes the folder and prints its path."""
    require(args.output, "--output", "export")
    if not args.with_scores:
        from mpjax.export import export_model

        print(
            export_model(args.run, args.output, threshold=args.threshold, overwrite=args.overwrite)
        )
        return
    if args.threshold is not None:
        raise InputError("--threshold does not apply with --with-scores: the run knows its own")
    from mpjax.export.with_scores import export_with_scores  # imports Orbax, which takes 1 s

    print(export_with_scores(args.run, args.output, overwrite=args.overwrite))
