"""`mpjax report`: one HTML page about runs."""

from __future__ import annotations

import argparse

HELP = "one HTML page about a run or several: results, curves, masks, weights; opens offline"
EXAMPLE = "mpjax report runs/sst2-10 runs/sst2-dense --output report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of report."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", help="run folder, or folder of runs, as of a sweep"
    )
    parser.add_argument(
        "--output", metavar="FILE", default="report.html",
        help="page to write (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace a page that exists")


def run(args: argparse.Namespace) -> None:
    """Writes the page and prints its path."""
    from mpjax.pages.write import write_report

    print(write_report(args.runs, args.output, overwrite=args.overwrite))
