"""One file for each recipe; it defines ``RECIPE``, and its name is the recipe's."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from mpjax.config.recipe import Recipe
from mpjax.config.scores import IMPORTANCES
from mpjax.config.structure import ELEMENT, is_n_of_m
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

RECOMMENDED = "sensitivity"  # recipe of a run that asks for a density and names no method


def names() -> tuple[str, ...]:
    """Names of all recipes, sorted.

    >>> "published" in names()
    True
    """
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get(name: str) -> Recipe:
    """Recipe by name; `InputError` lists the names for an unknown one."""
    if name not in names():
        raise InputError(f"--recipe is {name!r}; choose from {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").RECIPE


def default_recipe(given: Mapping[str, Any]) -> str | None:
    """`RECOMMENDED` where a density is asked for and no method; None otherwise.

    Args:
      given: options by field of `TrainConfig`. An N:M structure is a density.

    >>> default_recipe({"density": 0.1}), default_recipe({"density": 0.1, "method": "l0"})
    ('sensitivity', None)
    """
    asked = given.get("density") is not None or _is_n_of_m(given)
    return RECOMMENDED if asked and given.get("method") is None else None


def recipe_config(name: str | None, **given: Any) -> TrainConfig:
    """Config with the options of a recipe, which the options given override.

    Args:
      name: recipe; None = `default_recipe`, or the defaults of `TrainConfig` if that is None.
      given: values by field of `TrainConfig`.

    >>> recipe_config("platon", density=0.1, prune_every=5).prune_every
    5
    """
    name = default_recipe(given) if name is None else name
    if name is None:
        return TrainConfig(**given)
    recipe = get(name)
    own, method = recipe.options.get("method"), given.get("method")
    if own is not None and method not in (None, own):
        raise InputError(
            f"--recipe {name} is one of --method {own}, and --method is {method}; give one of them"
        )
    distilled = recipe.with_teacher if given.get("teacher") else {}
    options = {**recipe.options, **distilled}
    if _is_n_of_m(given):
        options.pop("scope", None)  # its weights compete within their runs
    if {**options, **given}.get("score_optimizer") not in IMPORTANCES:
        options.pop("score_beta", None)
    return TrainConfig(**{**options, **given})


def _is_n_of_m(given: Mapping[str, Any]) -> bool:
    return is_n_of_m(given.get("structure") or ELEMENT)
