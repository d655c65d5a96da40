"""Run folders that the arguments of a report name, and short names for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.pages.reading.record import Run, read_run
from mpjax.runs.folder import RunDir

MOST_RUNS = 64


def read_runs(given: Sequence[str | Path]) -> list[Run]:
    """Runs of the given folders: run folders, or folders with runs in them, as of a sweep.

    Raises:
      InputError: a folder without a run, or more than `MOST_RUNS` runs.
    """
    paths = list(dict.fromkeys(path for place in given for path in _runs_of(Path(place))))
    if len(paths) > MOST_RUNS:
        raise InputError(
            f"{len(paths)} runs are given, and a page shows at most {MOST_RUNS}; name fewer runs"
        )
    return [read_run(path, name) for path, name in zip(paths, short_names(paths), strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Last parts of the paths, as many as tell them apart.

    >>> short_names([Path("/a/x/run"), Path("/a/y/run")])
    ['x/run', 'y/run']
    """
    parts = [path.absolute().parts for path in paths]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = [os.sep.join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    else:
        names = [str(path) for path in paths]
    return [shown(name, 60) for name in names]


def _runs_of(place: Path) -> list[Path]:
    place = place.expanduser()
    if not place.is_dir():
        raise InputError(f"{shown(place)} is no folder; give a run folder of mpjax train")
    if _looks_like_run(place):
        return [place.resolve()]
    found = sorted(
        path.resolve()
        for pattern in ("*", "members/*")
        for path in place.glob(pattern)
        if path.is_dir() and _looks_like_run(path)
    )
    if not found:
        raise InputError(
            f"{shown(place)} is no run of mpjax and holds none (config.json, metrics.jsonl); "
            "give the --output of mpjax train or sweep"
        )
    return found


def _looks_like_run(folder: Path) -> bool:
    """Whether a folder is of a run, damaged or not."""
    run = RunDir(folder)
    if run.metrics.is_file() or run.provenance.is_file():
        return True
    try:
        return is_run(folder)
    except InputError:
        return False
