"""Recipe of a recorded run, and the options in which it differs from that recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mpjax.config import recipes
from mpjax.config.checks import DENSE
from mpjax.config.recorded import DERIVED, OPERATIONAL, as_dict
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.pages.reading.published import RANKED

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
# Options of the task and its size, which all recipes of a comparison share.
TASK = ("model", "task", "limit_train", "limit_eval", "epochs", "steps", "max_length")
# Options that differ between the seeds of a recipe or change no weight of a run.
FREE = ("seed", *OPERATIONAL, "log_every", "eval_every", "eval_batch_size")
# Options of a recipe that a comparison sets for all, or searches: without them it is the same one.
SEARCHED = (*TASK, "batch_size", "learning_rate")
_PATHS = ("teacher", "fill_from")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Recipe, target and changes of one run.

    Attributes:
      name: of a recipe of `mpjax.config.recipes`, or else the method.
      density: fraction asked for; None where λ decides, and for dense.
      penalty: λ where it decides the density.
      differs: options that differ from the recipe, or from the defaults of the method, by name.
    """

    name: str
    density: float | None
    penalty: float | None
    differs: tuple[tuple[str, Any], ...]


def identify(config: Mapping[str, Any]) -> Recipe:
    """Recipe of a recorded config.

    All options of a recipe but those of `SEARCHED` must be equal; among several the one with the
    most options is taken.

    Raises:
      InputError: options that do not go together.
      KeyError: no method or no task.

    >>> made = recipes.recipe_config("platon", density=0.1, clip=2.0, task="sst2")
    >>> identify(as_dict(made))
    Recipe(name='platon', density=0.1, penalty=None, differs=(('clip', 2.0),))
    """
    config = complete(config)
    found = {name: recipes.get(name).options for name in recipes.names()}
    equal = [
        name
        for name, options in found.items()
        if name != "published"
        and all(config[key] == value for key, value in options.items() if key not in SEARCHED)
    ]
    name = max(equal, key=lambda name: len(found[name]), default=None)
    density, penalty = _asked(config)
    given = {"density": density, "teacher": config["teacher"]}
    if penalty is not None:  # else that of the recipe
        given["final_lambda"] = penalty
    plain = as_dict(
        resolve(recipes.recipe_config(name, model="-", output="-", **_kind(config), **given))
    )
    aside = {*TASK, *FREE, *_PATHS, "data", "density"}
    differs = [
        (key, value)
        for key, value in config.items()
        if key not in aside and value is not None and value != plain.get(key)
    ]
    differs += [(key, config[key]) for key in _PATHS if config[key]]
    return Recipe(name or config["method"], density, penalty, tuple(sorted(differs)))


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a recorded config; those that are newer than the run have their default.

    Raises:
      KeyError: no method or no task.
    """
    given = {key: value for key, value in config.items() if key != DERIVED}
    return DEFAULTS | given | _kind(config)


def _kind(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("method", "task")}


def _asked(config: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Density and λ that a run was given; one of them at most."""
    if config["method"] == DENSE:
        return None, None
    if config["density"] is not None:
        return config["density"], None
    if config["method"] in RANKED:
        return config["final_threshold"], None
    return None, config["final_lambda"]
