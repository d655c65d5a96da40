"""`--config FILE`: options of a command from a file, below those of the command line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpjax.cli.parsing.recorded import as_given
from mpjax.cli.parsing.yaml_file import read_options
from mpjax.config.recorded import DERIVED
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log

_NOT_IN_A_FILE = ("help", "config")
# Options that have another default in `evaluate` and `score` than in `train`.
_OTHERWISE = ("dev_share", "split_seed", "batch_size")
_KINDS = {int: "a whole number", float: "a number", str: "text"}


def take_config(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Sets the options of ``--config`` that the command line does not give, as if it gave them.

    Raises:
      InputError: an unknown option or a wrong value; the message names the file and the option.
    """
    if args.config is not None:
        args.given |= {a.dest for a in _positional(parser) if getattr(args, a.dest)}
        given = set(args.given)
        path = Path(args.config).expanduser()
        found = read_options(path)
        if DERIVED in found and "recipe" in args.given:
            raise InputError(
                f"--recipe {args.recipe} beside --config {shown(path)}: the file of a run records "
                "every option and leaves none to a recipe; give the options of yours instead of it"
            )
        for name, value in _values(parser, path, found).items():
            if name == "steps" and "epochs" in given:
                continue
            if name not in args.given:
                setattr(args, name, value)
                args.given.add(name)
    missing = [action for action in _positional(parser) if not getattr(args, action.dest)]
    if missing:
        names = ", ".join(str(action.metavar or action.dest) for action in missing)
        parser.error(f"the following arguments are required: {names}")


def relax(parser: argparse.ArgumentParser) -> None:
    """Lets the file give what the command line must give otherwise."""
    for action in _positional(parser):
        action.required = False
        action.nargs = {None: "?", "+": "*"}.get(action.nargs, action.nargs)


def _positional(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]


def _values(parser: argparse.ArgumentParser, path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Values of a file by the name of the option in the namespace."""
    run = DERIVED in found
    if run:
        found = as_given(found)
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    values: dict[str, Any] = {}
    left: list[str] = []
    for key, value in found.items():
        name = key.removeprefix("--").replace("-", "_")
        if run and name not in actions and name in _train_options():
            left.append(key)
            continue
        if name not in actions or name in _NOT_IN_A_FILE:
            raise InputError(f"--config {shown(path)}: {_unknown(key, name, actions)}")
        if name in values:
            raise InputError(f"--config {shown(path)}: {shown(key)} is there twice; keep one")
        try:
            own = actions[name].default
            if run and name in _OTHERWISE and own != value == getattr(TrainConfig, name):
                continue
            values[name] = _value(actions[name], value)
        except ValueError as error:
            raise InputError(f"--config {shown(path)}: {shown(key)} is {error}") from error
    if not run and {"steps", "epochs"} <= values.keys():
        raise InputError(
            f"--config {shown(path)}: steps and epochs are both the length of the run; keep one"
        )
    if left:
        log.info("left out of %s, no options of this command: %s", path, ", ".join(left))
    return {name: value for name, value in values.items() if value is not None}


def _train_options() -> set[str]:
    return {field.name for field in dataclasses.fields(TrainConfig)}


def _unknown(key: str, name: str, known: dict[str, argparse.Action]) -> str:
    near = difflib.get_close_matches(name, [n for n in known if n not in _NOT_IN_A_FILE], n=1)
    hint = f"did you mean {near[0]}?" if near else "take it out"
    return f"{shown(key)} is no option of this command; {hint}"


def _value(action: argparse.Action, value: Any) -> Any:
    """Value as the option has it, None for the default; ValueError for one that it cannot have."""
    if value is None and action.default in (None, ""):
        return None
    told = shown(repr(value))
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{told}; give true or false")
        return value
    kind: Any = action.type or str
    if action.nargs in ("*", "+"):
        several = value if isinstance(value, list) else [value]
        return [_single(kind, one, told) for one in several]
    if kind is str and isinstance(value, list):
        value = ",".join(str(_part(one, told)) for one in value)
    elif kind is str and "," in str(action.metavar) and not isinstance(value, str):
        value = str(_part(value, told))  # several numbers, of which the file gives one
    found = _single(kind, value, told)
    if action.choices is not None and found not in action.choices:
        raise ValueError(f"{told}; choose from {', '.join(map(str, action.choices))}")
    return found


def _single(kind: Any, value: Any, told: str) -> Any:
    allowed = (int, float) if kind is float else kind
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ValueError(f"{told}; give {_KINDS.get(kind, 'text')}")
    return kind(value)


def _part(value: Any, told: str) -> Any:
    """One of several texts or numbers, which the option takes with commas between them."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{told}; give texts or numbers")
    return value
