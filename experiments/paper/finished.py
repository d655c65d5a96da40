"""Our finished runs, read back from run folders and from receipts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.paper.receipt import MARK
from mpjax.config.recorded import is_run
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.pages.reading.published import SCORES, scope_of
from mpjax.runs.folder import RunDir


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """One of our runs, as far as a comparison needs it.

    Attributes:
      name: of its folder or receipt.
      group: as `published.PublishedRun.group`.
      model: base name.
      rows: limit of the training rows, None = all.
      remaining: encoder remaining in percent.
      scores: in percent, the primary one first.
    """

    name: str
    group: tuple[str, str, str, bool]
    model: str
    rows: int | None
    remaining: float
    scores: Mapping[str, float]

    @property
    def task(self) -> str:
        return self.group[0]


@dataclasses.dataclass(frozen=True)
class Record:
    """JSON of one finished run.

    Attributes:
      name: of its folder or receipt.
      config: content of its `config.json`.
      result: content of its `result.json`.
      path: folder or receipt, for errors.
    """

    name: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    path: Path


def find(*folders: Path) -> list[FinishedRun]:
    """Finished runs and receipts below folders, densest first in a group; others are passed over.

    Raises:
      InputError: no such folder, nothing finished in it, or a file that cannot be read.
    """
    found = [
        from_json(record.name, record.config, record.result, record.path)
        for record in {one.path: one for folder in folders for one in records(folder)}.values()
        if _is_published(record.config)
    ]
    if not found:
        raise InputError(_nothing(*folders))
    return sorted(found, key=lambda run: (run.group, -run.remaining, run.name))


def records(folder: Path) -> list[Record]:
    """Finished runs and receipts below a folder, in the order of their paths.

    Raises:
      InputError: no such folder, nothing finished in it, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"--results {folder} is no folder; give one with run folders or receipts")
    found = list(_below(folder))
    if not found:
        raise InputError(_nothing(folder))
    return found


def from_json(
    name: str, config: Mapping[str, Any], result: Mapping[str, Any], where: Path
) -> FinishedRun:
    """Run from the content of its `config.json` and `result.json`; `where` names it in errors."""
    try:
        task, method = config["task"], config["method"]
        scope = scope_of(method, config["scope"])
        scores = result["score"]
        ordered = [key for key in SCORES.get(task, ()) if key in scores]
        return FinishedRun(
            name=name,
            group=(task, method, scope, bool(config.get("teacher"))),
            model=Path(config["model"]).name,
            rows=config["limit_train"],
            remaining=100 * result["encoder_remaining"],
            scores={key: scores[key] for key in dict.fromkeys([*ordered, *scores])},
        )
    except KeyError as error:
        raise InputError(f"{where}: no {error} in it; it was not written by mpjax train") from error


def _nothing(*folders: Path) -> str:
    given = " ".join(map(str, folders))
    return (
        f"--results {given} holds no finished run (result.json beside config.json) and no "
        "receipt; finish a run, or make a receipt with: python -m experiments.paper receipt"
    )


def _below(folder: Path) -> Iterator[Record]:
    if is_run(folder):
        run = RunDir(folder)
        if (result := run.read_result()) is not None:
            yield Record(folder.resolve().name, read_object(run.config), result, folder)
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _below(path)
        elif path.suffix == ".json":
            yield from _receipt(path)


def _is_published(config: Mapping[str, Any]) -> bool:
    """Whether the scores learn as in the published runs; other recipes have no counterpart."""
    return config.get("score_optimizer", TrainConfig.score_optimizer) == TrainConfig.score_optimizer


def _receipt(path: Path) -> Iterator[Record]:
    """Record of a receipt; nothing for other JSON files."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} cannot be read as JSON: {error}; mend or move it") from error
    if isinstance(value, dict) and MARK in value:
        yield Record(path.stem, value.get("config") or {}, value.get("result") or {}, path)
