"""`mpjax recipes`: named sets of options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from mpjax.config import recipes
from mpjax.config.checks import option

HELP = "named sets of options for mpjax train --recipe, with their sources"
EXAMPLE = "mpjax recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of recipes."""
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")


def run(args: argparse.Namespace) -> None:
    """Prints summary, source and options of every recipe."""
    found = {name: recipes.get(name) for name in recipes.names()}
    if args.json:
        print(json.dumps({name: vars(recipe) for name, recipe in found.items()}, indent=2))
        return
    from mpjax.report.table import render

    print(render(["recipe", "summary"], [[n, r.summary] for n, r in found.items()], left=2))
    for name, recipe in found.items():
        mark = " (default with --density)" if name == recipes.RECOMMENDED else ""
        print(f"\n{name}{mark}: {_words(recipe.options) or 'the defaults'}")
        if recipe.with_teacher:
            print(f"  with --teacher: {_words(recipe.with_teacher)}")
        print(f"  {recipe.source}\n  {recipe.measured}")


def _words(options: Mapping[str, Any]) -> str:
    """Options as on the command line; numbers with six digits."""
    return " ".join(
        option(field) if value is True else f"{option(field)} {_short(value)}"
        for field, value in options.items()
    )


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
