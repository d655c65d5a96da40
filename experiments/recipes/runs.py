"""Finished runs and receipts, with the settings that make two of them comparable."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.paper.finished import Record, records
from experiments.recipes.detect import FREE, TASK, Recipe, complete, identify
from mpjax.config.checks import DENSE
from mpjax.config.recorded import DERIVED
from mpjax.errors import InputError


@dataclasses.dataclass(frozen=True, order=True)
class Settings:
    """Task, model and size of a run: scores are compared where all of them are equal.

    Attributes:
      model: base name.
      rows: training rows asked for, "all" without a limit; questions, for SQuAD.
      train_rows: number encoded, which depends on the file and for SQuAD on the windows.
      length: epochs or steps.
    """

    task: str
    model: str
    rows: str
    train_rows: str
    dev_rows: str
    length: str
    max_length: str

    def parts(self) -> tuple[str, ...]:
        """Settings but the task, as they stand in a title."""
        of = f" of {self.train_rows}" if self.rows == "all" else ""
        windows = (
            f" ({self.train_rows} encoded)" if self.rows not in ("all", self.train_rows) else ""
        )
        return (
            self.model,
            f"{self.rows}{of} rows{windows}",
            self.length,
            f"max length {self.max_length}",
            f"{self.dev_rows} dev rows",
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
      name: of its folder or receipt.
      density: linear density reached, a fraction.
      metric: name of the primary score.
      score: the primary score in percent.
      options: every option that seeds of one recipe share.
    """

    name: str
    settings: Settings
    recipe: Recipe
    seed: int
    density: float
    metric: str
    score: float
    options: Mapping[str, Any]

    @property
    def is_dense(self) -> bool:
        return self.options["method"] == DENSE


def read(*places: Path) -> list[Run]:
    """Runs and receipts below folders, and single receipts.

    Raises:
      InputError: nothing finished there, or a file that is no run of `mpjax train`.
    """
    found: list[Record] = []
    for place in places:
        if place.is_file():
            found += [one for one in records(place.parent) if one.path == place]
        else:
            found += records(place)
    each = {record.path.resolve(): record for record in found}  # a run given twice counts once
    return [_run(record) for record in each.values()]


def titles(settings: Iterable[Settings]) -> dict[Settings, str]:
    """Task names; of a task with several settings, the parts that differ are added."""
    found: dict[Settings, str] = {}
    every = sorted(set(settings))
    for one in every:
        others = [other.parts() for other in every if other.task == one.task]
        differing = [part for i, part in enumerate(one.parts()) if {o[i] for o in others} != {part}]
        found[one] = f"{one.task} ({', '.join(differing)})" if differing else one.task
    return found


def _run(record: Record) -> Run:
    config, result = record.config, record.result
    try:
        full = complete(config)
        return Run(
            name=record.name,
            settings=_settings(full, config.get(DERIVED) or {}),
            recipe=identify(config),
            seed=full["seed"],
            density=result["linear_density"],
            metric=result["metric"],
            score=result["score"][result["metric"]],
            options={key: full[key] for key in full if key not in (*TASK, *FREE)},
        )
    except KeyError as error:
        raise InputError(
            f"{record.path}: no {error} in it; it was not written by mpjax train"
        ) from error
    except InputError as error:
        raise InputError(f"{record.path}: {error}") from error


def _settings(config: Mapping[str, Any], derived: Mapping[str, Any]) -> Settings:
    steps, epochs = config["steps"], config["epochs"]
    return Settings(
        task=config["task"],
        model=Path(config["model"]).name,
        rows=_count(config["limit_train"], "all"),
        train_rows=_count(derived.get("train_rows")),
        dev_rows=_count(derived.get("dev_rows", config["limit_eval"]), "all"),
        length=f"{epochs:g} epochs" if steps is None else f"{steps} steps",
        max_length=str(config["max_length"]),
    )


def _count(number: int | None, absent: str = "?") -> str:
    return absent if number is None else f"{number:,}"
