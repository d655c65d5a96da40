"""`mpjax quickstart`: the method end to end on a built-in language."""

from __future__ import annotations

import argparse

from mpjax.cli.arguments import FIELDS, add_field, use_cache

HELP = "end-to-end demo on synthetic data: pretrain, fine-tune, prune, compare; minutes on a CPU"
EXAMPLE = "mpjax quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of quickstart."""
    add_field(parser, FIELDS["cache"])
    add_field(parser, FIELDS["seed"])
    parser.add_argument(
        "--output", default="quickstart", help="folder for the runs (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Trains the models of the demo and prints their table."""
    from mpjax.quickstart import quickstart

    use_cache(args.cache)
    quickstart(
        args.output,
        cache=args.cache,
        seed=args.seed,
        show=lambda text: print(text, flush=True),
    )
