"""Options of one run of the comparison: the settings of its task, a recipe, and changes to it."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from typing import Any

from mpjax.cli import parse
from mpjax.config import recipes
from mpjax.config.checks import methods, option
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

BATCH_SIZE = 32
# Sizes that two CPU cores train MiniLM on in 5 to 20 minutes. None = all rows of the file: that of
# MNLI at hand has 8,999.
TASKS: dict[str, dict[str, Any]] = {
    "sst2": {"limit_train": 10_000, "max_length": 64, "epochs": 3},
    "mnli": {"limit_train": None, "limit_eval": 2_000, "max_length": 64, "epochs": 3},
    "squad": {"limit_train": 4_000, "max_length": 192, "epochs": 2},
    "qqp": {"limit_train": 10_000, "max_length": 64, "epochs": 3},
    "rte": {"limit_train": 500, "max_length": 128, "epochs": 3},
    "mrpc": {"limit_train": 500, "max_length": 128, "epochs": 3},
}
FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
# Options of `run` itself, which --set leaves to them.
OWN = ("model", "task", "data", "output", "method", "density", "seed", "limit_train")


@dataclasses.dataclass(frozen=True)
class Launch:
    """One run.

    Attributes:
      recipe: of `mpjax.config.recipes`, or a method.
      density: fraction to keep; None for dense, or where an option decides it.
      output: folder that the run folder is made in.
      limit_train: training rows; None = those of the task's settings.
      changes: options that override the recipe, by field of `TrainConfig`.
    """

    task: str
    recipe: str
    model: str
    data: str | None
    output: str
    density: float | None = None
    seed: int = 0
    limit_train: int | None = None
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        """Run folder below the output: all that may differ between the runs of a comparison.

        >>> Launch("sst2", "platon", "m", "d", "o", 0.1, 2, None, {"learning_rate": 1e-4}).name
        'sst2-platon-10-learning-rate-0.0001-seed2'
        """
        rows = {} if self.limit_train is None else {"limit_train": self.limit_train}
        changes = [f"{key}-{_short(value)}" for key, value in (rows | self.changes).items()]
        percent = [] if self.density is None else [f"{100 * self.density:g}"]
        parts = [self.task, self.recipe, *percent, *changes, f"seed{self.seed}"]
        return "-".join(parts).replace("_", "-").replace("/", "-")


def options(launch: Launch) -> dict[str, Any]:
    """Options of ``mpjax train``: with ``recipe``, and fields of `TrainConfig`.

    A recipe of which a switch is turned off is written out, since no option turns a switch off.

    Raises:
      InputError: an unknown task or recipe, or options that do not go together.
    """
    if launch.task not in TASKS:
        raise InputError(f"TASK is {launch.task!r}; choose from {', '.join(TASKS)}")
    known = recipes.names()
    if launch.recipe not in (*known, *methods()):
        every = ", ".join(dict.fromkeys((*known, *methods())))
        raise InputError(f"RECIPE is {launch.recipe!r}; choose from {every}")
    named = launch.recipe if launch.recipe in known else None
    given: dict[str, Any] = {
        "task": launch.task,
        "model": launch.model,
        "data": launch.data,
        "output": os.path.join(launch.output, launch.name),
        **({} if named else {"method": launch.recipe}),
        "density": launch.density,
        **TASKS[launch.task],
        "batch_size": BATCH_SIZE,
        "seed": launch.seed,
    }
    if launch.limit_train is not None:
        given["limit_train"] = launch.limit_train
    given = {name: value for name, value in given.items() if value is not None} | launch.changes
    resolve(dataclasses.replace(recipes.recipe_config(named, **given), data=None))
    off = [name for name, value in launch.changes.items() if value is False]
    spelled = given if named is None or not off else {**recipes.get(named).options} | given
    left = [*off, "epochs"] if "steps" in spelled else off  # not both lengths of a run
    ordered = {name: spelled[name] for name in FIELDS if name in spelled and name not in left}
    return ({"recipe": named} if named and not off else {}) | ordered


def changes(words: Sequence[str]) -> dict[str, Any]:
    """Options of ``option=value`` words, by field of `TrainConfig`.

    Raises:
      InputError: no ``=``, an unknown option, or a value of another type.

    >>> changes(["learning-rate=1e-4", "dense_gradient=false", "prune_every=20"])
    {'learning_rate': 0.0001, 'dense_gradient': False, 'prune_every': 20.0}
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not equals or name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"--set {word}: write option=value with an option of train{hint}")
        if name in OWN:
            raise InputError(f"--set {word}: {name} is decided by the arguments of run; use those")
        found[name] = _value(name, value)
    return found


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _value(name: str, text: str) -> Any:
    if isinstance(FIELDS[name].default, bool):
        if text.lower() not in ("true", "false"):
            raise InputError(f"--set {name}={text}: it is a switch; write true or false")
        return text.lower() == "true"
    return getattr(parse(["train", option(name), text]), name)
