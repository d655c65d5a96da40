"""The data of a run as a card names them: a data set on the hub, or names of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mpjax.cards.paths import is_path

_GLUE = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli")
# Public data sets of our tasks: name and config on the hub. All are English.
PUBLISHED: dict[str, tuple[str, str | None]] = {
    **{task: ("nyu-mll/glue", task) for task in _GLUE},
    "squad": ("rajpurkar/squad", None),
    "squad_v2": ("rajpurkar/squad_v2", None),
}
_HUB = "hub:"


@dataclass(frozen=True)
class TrainingData:
    """Data that a model was trained and scored on.

    Attributes:
      shown: what a reader sees.
      hub: data set on the hub, None for files and generated data.
      config: of that data set.
      languages: codes, () where nothing says them.
      local: name of the file or folder that was read, without its place; None for the hub.
    """

    shown: str
    hub: str | None = None
    config: str | None = None
    languages: tuple[str, ...] = ()
    local: str | None = None


def training_data(options: Mapping[str, Any]) -> TrainingData:
    """Data of the recorded options of a run.

    A task of GLUE or SQuAD names its data set even where files were read, which is its meaning;
    the file's name stands beside it.

    >>> training_data({"task": "sst2", "data": "/data/SST-2"}).shown
    'nyu-mll/glue (sst2), read from SST-2'
    >>> training_data({"task": "classification", "data": "/data/letters.csv"}).hub is None
    True
    """
    task, data = options["task"], options.get("data")
    if data is not None and data.startswith(_HUB):
        name, _, config = data.removeprefix(_HUB).partition(":")
        return TrainingData(_named(name, config or None), name, config or None)
    local = None if data in (None, "hub") else PurePath(data).name if is_path(data) else data
    if task in PUBLISHED:
        name, config = PUBLISHED[task]
        read = "" if local is None else f", read from {local}"
        return TrainingData(_named(name, config) + read, name, config, ("en",), local)
    if task.startswith("demo_"):
        return TrainingData("synthetic sentences of a toy language, which mpjax generates")
    if local is None:
        return TrainingData(f"data of the task {task}")
    return TrainingData(f"own data, {local}", local=local)


def _named(name: str, config: str | None) -> str:
    return name if config is None else f"{name} ({config})"
