"""Scores of a prediction file, wherever the predictions come from. Needs no model and no jax."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks.base import Data, PredictingTask, Task

_NAMED = 3  # ids that a message names


def score_file(task: str, data: Data, predictions: str | Path) -> dict[str, Any]:
    """The official metrics of predictions for a dev set, in percent.

    Args:
      task: its name. data: folder or file of the task's data; None = the hub.
      predictions: for questions the official ``predictions.json`` (id to text), for sentences a
        GLUE submission (``index``, ``prediction``), tab-separated or jsonl.

    Returns:
      JSON values: ``task``, ``rows``, ``metric`` (the primary one) and ``score``, a dict with the
      primary one first.

    Raises:
      InputError: a file that is not there or of another form; ids that are missing or unknown.
    """
    chosen, path = predicting(tasks.get(task)), Path(predictions)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"--predictions {path} {found}; give a file of predictions")
    guesses = chosen.read_predictions(path)
    rows = chosen.read(data, "dev")
    _check_ids(chosen.ids(rows), guesses, f"{path}", f"{data or 'the hub'}")
    return {
        "task": task,
        "rows": len(rows),
        "metric": chosen.metric,
        "score": chosen.score_predictions(rows, guesses),
    }


def predicting(task: Task) -> PredictingTask:
    """The task itself, if its predictions can stand in a file."""
    if not isinstance(task, PredictingTask):
        raise InputError(f"--task {task.name} has no prediction files; leave out --predictions")
    return task


def check_destination(task: PredictingTask, path: Path) -> None:
    """`InputError` unless predictions of the task can be written to `path`."""
    if path.suffix not in task.prediction_files:
        kinds = " or ".join(task.prediction_files)
        raise InputError(f"--predictions {path}: those of {task.name} are a {kinds} file")
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
            "give --data the file they were made for, or complete them"
        )


def _few(ids: Sequence[Any]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(str(one) for one in ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")
