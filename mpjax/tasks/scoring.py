"""Scores of a prediction file of any model. Imports no jax."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.tasks.base import Data, DataOptions, PredictingTask, Task
from mpjax.tasks.repairing import with_repair

_NAMED = 3  # ids named in a message


def score_file(
    task: str,
    data: Data,
    predictions: str | Path,
    options: DataOptions | None = None,
    repair: bool = False,
) -> dict[str, Any]:
    """Official metrics of predictions for a dev set, in percent.

    Args:
      task: name of the task.
      data: folder or file of its data; None for the hub.
      predictions: for questions the official ``predictions.json`` (id to text), for sentences a
        GLUE submission (``index``, ``prediction``), tab-separated or jsonl.
      options: columns, split and labels of own data.
      repair: mend faults of questions, or leave them out, as `evaluate` did.

    Returns:
      JSON values: ``task``, ``rows``, ``metric`` (name of the primary score) and ``score``, a dict
      with the primary score first.

    Raises:
      InputError: a missing or malformed file; missing or unknown ids.
    """
    fitted = with_repair(tasks.get(task), repair).fit(data, options or DataOptions())
    chosen, path = predicting(fitted), Path(predictions)
    if not os.path.isfile(path):  # Path raises for a name that is too long
        found = "is a folder" if os.path.isdir(path) else "does not exist"
        raise InputError(f"--predictions {shown(path)} {found}; give a file of predictions")
    guesses = chosen.read_predictions(path)
    rows = chosen.read(data, "dev")
    _check_ids(chosen.ids(rows), guesses, f"{path}", f"{data or 'the hub'}")
    return {
        "task": task,
        "rows": len(rows),
        "metric": chosen.metric,
        "score": chosen.score_predictions(rows, guesses) | chosen.scores_beside(path, rows),
    }


def predicting(task: Task) -> PredictingTask:
    """The task itself; `InputError` if it has no prediction files."""
    if not isinstance(task, PredictingTask):
        raise InputError(f"--task {task.name} has no prediction files; leave out --predictions")
    return task


def check_destination(task: PredictingTask, path: Path) -> None:
    """Raises `InputError` unless predictions of the task can be written to `path`."""
    if path.suffix not in task.prediction_files:
        kinds = " or ".join(task.prediction_files)
        raise InputError(f"--predictions {path}: {task.name} writes a {kinds} file")
    if path.is_dir():
        raise InputError(f"--predictions {path} is a folder; give a file")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"--predictions {path}: {above} is a file, not a folder; choose another")


def _check_ids(wanted: Sequence[Any], given: Collection[Any], path: str, data: str) -> None:
    known = set(wanted)
    missing = [one for one in wanted if one not in given]
    unknown = [one for one in given if one not in known]
    wrong = []
    if missing:
        wrong.append(f"no prediction for {len(missing)} of {len(wanted)} rows ({_few(missing)})")
    if unknown:
        wrong.append(
            f"{len(unknown)} of {len(given)} predictions are for rows that are not in the data "
            f"({_few(unknown)})"
        )
    if wrong:
        raise InputError(
            f"{path}: {'; '.join(wrong)}. Every row of {data} needs one prediction and no other: "
            "give --data the file that they were made for (of own data that a run has split, with "
            "its --dev-share and --split-seed), or complete them"
        )


def _few(ids: Sequence[Any]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(shown(one) for one in ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")
