"""One file for each recipe; it defines ``RECIPE``, and its name is the recipe's."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from mpjax.config.recipe import Recipe
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError


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


def recipe_config(name: str | None, **given: Any) -> TrainConfig:
    """Config with the options of a recipe, which the options given override.

    Args:
      name: recipe; None = the defaults of `TrainConfig`.
      given: values by field of `TrainConfig`.

    >>> recipe_config("platon", density=0.1, prune_every=5).prune_every
    5
    """
    if name is None:
        return TrainConfig(**given)
    recipe = get(name)
    distilled = recipe.with_teacher if given.get("teacher") else {}
    return TrainConfig(**{**recipe.options, **distilled, **given})
