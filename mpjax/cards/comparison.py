"""Scores beside a run's: of its teacher, and of a dense run of the same task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpjax.config.checks import DENSE
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.runs.folder import RunDir

# Options that must be equal for two scores to be of the same rows and the same start.
SAME_ROWS = ("task", "data", "text", "label", "dev_share", "split_seed", "limit_eval", "metric")
_MOST_FOLDERS = 200  # beside a run that are looked into


@dataclass(frozen=True)
class Compared:
    """Score of a model beside the run's.

    Attributes:
      role: "teacher" or "dense".
      run: name of its folder.
      score: in percent, of the run's metric.
    """

    role: str
    run: str
    score: float


def compared(run: Path, options: Mapping[str, Any], metric: str) -> tuple[Compared, ...]:
    """Scores of the teacher and of a dense run in the same folder, where they are known.

    Args:
      run: run folder.
      options: its recorded options.
    """
    found: dict[Path, Compared] = {}
    for role, folder in _candidates(run, options):
        score = _score(folder, metric)
        if score is not None:
            found.setdefault(folder.resolve(), Compared(role, folder.name, score))
    return tuple(found.values())


def _candidates(run: Path, options: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Finished runs whose score is of the same rows, the teacher first, one dense run at most."""
    teacher = options.get("teacher")
    if teacher and alike(options_of(Path(teacher)), options):
        yield "teacher", Path(teacher)
    if options.get("method") == DENSE:
        return
    run = run.resolve()
    for folder in sorted(run.parent.iterdir())[:_MOST_FOLDERS]:
        if folder == run or not (folder / "result.json").is_file():
            continue
        recorded = options_of(folder)
        dense = recorded.get("method") == DENSE and not recorded.get("fill_from")
        if dense and alike(recorded, options) and recorded.get("model") == options["model"]:
            yield "dense", folder
            return


def alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the scores of two recorded configs are of the same rows."""
    return all(one.get(name) == other.get(name) for name in SAME_ROWS)


def options_of(folder: Path) -> dict[str, Any]:
    """Recorded options of a run; {} for anything else, and for a damaged one."""
    try:
        return read_object(RunDir(folder).config) if is_run(folder) else {}
    except (InputError, OSError):
        return {}


def _score(folder: Path, metric: str) -> float | None:
    try:
        score = read_object(RunDir(folder).result).get("score")
    except InputError:
        return None
    value = score.get(metric) if isinstance(score, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
