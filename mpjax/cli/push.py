"""`mpjax push`: a model on the Hugging Face hub."""

from __future__ import annotations

import argparse

HELP = "upload a model to the Hugging Face hub, with its model card"
EXAMPLE = "mpjax push runs/sst2-movement-10 me/bert-sst2-10 --private"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of push."""
    parser.add_argument(
        "model", metavar="RUN_OR_MODEL", help="finished run, model folder or packed model"
    )
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub")
    parser.add_argument(
        "--private",
        action="store_true",
        help="make the repository private (default: as the hub does, mostly public)",
    )
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch, made if it is missing (default: main)"
    )
    parser.add_argument("--message", help="message of the commit (default: Upload NAME)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the files of a repository, and remove its others, in one commit; a card "
        "that was edited there stays",
    )


def run(args: argparse.Namespace) -> None:
    """Uploads, and prints the address."""
    from mpjax.export.push import push_model

    print(
        push_model(
            args.model,
            args.repository,
            private=args.private,
            revision=args.revision,
            message=args.message,
            overwrite=args.overwrite,
        )
    )
