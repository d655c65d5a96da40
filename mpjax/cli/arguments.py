"""Options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any

from mpjax.config.checks import field_types, methods, option
from mpjax.config.recipes import RECOMMENDED, default_recipe, get, recipe_config
from mpjax.config.train import TOPICS, TrainConfig
from mpjax.errors import InputError
from mpjax.hostmemory import give_back_after_compiling
from mpjax.runs.cache import cache_folder, use_compiled_programs

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}


Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def topics(parser: argparse.ArgumentParser) -> Callable[[str], Parser]:
    """Groups of a parser by topic, made in the order of the help where an option needs them.

    An option without a topic of ours goes to the parser itself.
    """
    groups = {topic: parser.add_argument_group(topic) for topic in TOPICS}
    return lambda topic: groups.get(topic, parser)


def add_field(parser: Parser, field: dataclasses.Field[Any]) -> None:
    """Adds the option of a field of TrainConfig: its type, default and help."""
    flag, text = option(field.name), field.metadata["help"]
    kind: Any = field_types(TrainConfig)[field.name]
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
        return
    kind = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    choices = field.metadata.get("choices")
    if field.name == "method":
        text += f" (default: with --density that of --recipe {RECOMMENDED}, else {field.default})"
    elif field.default not in (None, ""):
        text += (
            f" (default: {field.default:g})" if kind is float else f" (default: {field.default})"
        )
    parser.add_argument(
        flag,
        type=kind,
        default=field.default,
        choices=choices,
        metavar=_metavar(field, kind),
        help=text,
        action=_Joined if field.metadata.get("several") else "store",
    )


class _Joined(argparse.Action):
    """Values of an option that is given several times, with commas between them."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is None else f"{before},{values}")


def _metavar(field: dataclasses.Field[Any], kind: type) -> str | None:
    """Placeholder of a value in the help; None where argparse writes the choices."""
    if field.name == "method":  # checked later, when plugins are known
        return f"{{{','.join(methods())}}}"
    if field.metadata.get("choices"):
        return None
    if unit := field.metadata.get("unit"):
        return str(unit)
    return field.name.upper() if kind is str else "N" if kind is int else "X"


def train_config(args: argparse.Namespace, names: Collection[str] = FIELDS.keys()) -> TrainConfig:
    """Config of the fields ``names``: options given, then those of the recipe, then defaults."""
    given = {name: getattr(args, name) for name in FIELDS if name in args.given}
    recipe = args.recipe or default_recipe(given)
    return recipe_config(recipe, **{name: given[name] for name in names if name in given})


@contextlib.contextmanager
def naming_recipe(args: argparse.Namespace) -> Iterator[None]:
    """Says of an option that does not apply and was not given that the recipe has it.

    Raises:
      InputError: as raised inside, with the recipe.
    """
    try:
        yield
    except InputError as error:
        flag = re.match(r"(--[a-z-]+) does not apply", str(error))
        name = flag.group(1)[2:].replace("-", "_") if flag else ""
        if not hasattr(args, "recipe") or name in args.given:
            raise
        recipe = args.recipe or default_recipe({n: getattr(args, n) for n in args.given})
        options = get(recipe).options if recipe else {}
        if name not in options:
            raise
        default = "" if args.recipe else ", the default with a density"
        raise InputError(
            f"{error} ({option(name)} {options[name]} is of --recipe {recipe}{default}; give "
            "another value, or another recipe)"
        ) from error


def add_recipe(parser: Parser) -> None:
    """Adds the option of commands that train."""
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="named set of options, which the options given override; see mpjax recipes "
        f"(default: {RECOMMENDED}, with --density and no --method)",
    )


def add_own_data(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds the options about own data of commands that score.

    Args:
      default: columns where none are given, for the help.
    """
    parser.add_argument("--text", metavar="A[,B]", help=f"own data: text columns ({default})")
    parser.add_argument("--label", metavar="A", help=f"own data: label column ({default})")
    parser.add_argument("--metric", help="own data: primary score (default: the run's or task's)")
    parser.add_argument(
        "--dev-share",
        type=float,
        metavar="X",
        help="own data without a dev file: score this share of the rows (default: all of them; of "
        "the file that the run was trained on those it left out)",
    )
    parser.add_argument(
        "--split-seed", type=int, metavar="N", help="own data: seed of the choice of these rows"
    )


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Adds the option of commands that read training checkpoints."""
    parser.add_argument(
        "--threshold",
        type=float,
        help="mask threshold of a training checkpoint with scores, if its folder does not say it",
    )


def add_model(parser: argparse.ArgumentParser, name: str) -> None:
    """Adds the place of commands that read one model, under the name that its file option has."""
    parser.add_argument(
        name,
        metavar="RUN_OR_MODEL",
        help="finished run, model folder, packed model, or name on the Hugging Face hub",
    )


def add_overwrite(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds the option of commands with an output."""
    text = f"replace {what} that exists; the old one stays until the new one is whole"
    parser.add_argument("--overwrite", action="store_true", help=text)


def use_cache(choice: str | None) -> None:
    """Keeps compiled programs in the cache folder for the rest of this process.

    Of the memory that compiling takes, nothing is kept.
    """
    give_back_after_compiling()
    use_compiled_programs(cache_folder(choice))


def require(value: object, flag: str, command: str) -> None:
    """Raises `InputError` for a required option that was not given."""
    if not value:
        raise InputError(f"{flag} is missing (see: mpjax {command} --help)")
