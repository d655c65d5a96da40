"""Sections of a card about the run: method, recipe, options, provenance."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from mpjax.cards.facts import RunFacts
from mpjax.cards.markdown import code, table
from mpjax.cards.paths import without_paths
from mpjax.config import recipes
from mpjax.config.checks import option
from mpjax.config.recipe import Recipe
from mpjax.config.recorded import OPERATIONAL
from mpjax.config.train import TrainConfig

_METHODS = {
    "dense": "plain fine-tuning, nothing is pruned",
    "magnitude": "magnitude pruning: weights of the largest absolute value stay",
    "movement": "movement pruning: weights with the highest learned scores stay",
    "soft_movement": "soft movement pruning: weights whose learned score is above a threshold stay",
    "l0": "L0 regularisation: weights whose gate is open stay",
}
_APART = ("model", "task", "data", "method", "density")  # they have rows of their own


def training(run: RunFacts) -> str:
    """Method, recipe, data and the options that differ from their defaults."""
    options = run.options
    method = options["method"]
    recipe = recipe_of(options, _command(run))
    rows = [
        ["start", code(run.origin.shown)],
        ["data", code(run.data.shown)],
        ["rows", f"{run.derived['train_rows']:,} for training"],
        ["method", f"{code(method)}, {_METHODS.get(method, 'a rule of a plugin')}"],
        *([["recipe", f"{code(recipe)}: {recipes.get(recipe).source}"]] if recipe else []),
        *([["density asked for", f"{options['density']:g}"]] if options["density"] else []),
        ["steps", f"{run.result['steps']:,} of {options['batch_size']} rows"],
    ]
    given = without_paths(changed(options))
    words = "\n".join(_word(name, value) for name, value in given.items())
    more = f"\n\nOptions that differ from their defaults:\n\n```\n{words}\n```" if words else ""
    return f"## Training\n\n{table(['', ''], rows, left=2)}{more}"


def provenance(run: RunFacts) -> str:
    """Versions, hardware, commit and command; nothing of the machine's paths."""
    session: Mapping[str, Any] = run.sessions[-1] if run.sessions else {}
    versions = session.get("versions", {})
    hardware = session.get("hardware", {})
    rows = [
        ["versions", ", ".join(f"{name} {code(version)}" for name, version in versions.items())],
        ["commit of mpjax", code(session["commit"]) if session.get("commit") else "not recorded"],
        ["device", code(f"{hardware.get('devices', '?')} x {hardware.get('device', '?')}")],
        ["started", code(session.get("started", "?"))],
        ["seconds of training", f"{run.result['seconds']:,.0f}"],
        ["sessions", str(len(run.sessions))],
    ]
    command = _command(run)
    said = f"\n\n```\n{shlex.join(_plain(command))}\n```" if command else ""
    return f"## Provenance\n\n{table(['', ''], rows, left=2)}{said}"


def changed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that differ from their defaults, without those of storage and devices.

    >>> changed({"seed": 1, "batch_size": 32, "output": "runs/one"})
    {'seed': 1}
    """
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    return {
        name: value
        for name, value in options.items()
        if name not in (*OPERATIONAL, *_APART) and value != defaults.get(name)
    }


def recipe_of(options: Mapping[str, Any], command: Sequence[str] = ()) -> str | None:
    """Recipe of a run: the one of its command, or else the largest whose options it all has.

    A recipe without a method, as `published`, is known by the command only.
    """
    named = [word for option, word in pairwise(command) if option == "--recipe"]
    named += [word.partition("=")[2] for word in command if word.startswith("--recipe=")]
    if named:
        return named[0] if named[0] in recipes.names() else None
    fitting = {
        name: len(recipe.options)
        for name in recipes.names()
        if "method" in (recipe := recipes.get(name)).options and _fits(recipe, options)
    }
    return max(fitting, key=lambda name: fitting[name], default=None)


def _fits(recipe: Recipe, options: Mapping[str, Any]) -> bool:
    return all(options.get(name) == value for name, value in recipe.options.items())


def _command(run: RunFacts) -> list[str]:
    """Words of the last session's command, [] unless it was one of mpjax."""
    words = run.sessions[-1].get("command") if run.sessions else None
    if not isinstance(words, list) or not words:
        return []
    program = PurePath(str(words[0]))
    ours = program.name == "mpjax" or program.parts[-2:] == ("mpjax", "__main__.py")
    return ["mpjax", *(str(word) for word in words[1:])] if ours else []


def _plain(command: Sequence[str]) -> list[str]:
    """Words without paths of the machine, and without what would end a block of code."""
    return [str(word).replace("`", "'").replace("\n", " ") for word in without_paths([*command])]


def _word(name: str, value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    words = option(name) if value is True else f"{option(name)} {shlex.quote(text)}"
    return words.replace("`", "'").replace("\n", " ")
