"""Records of checkpoints: which folders are whole, which are damaged, which may go.

```
CHECKPOINTS/
  500/
    state/        Orbax's files: parameters, scores, optimiser state
    files/        growing files of the run (metrics.jsonl, ...) as they were at this step
    record.json   size and digest of every file above, rank; written last
  damaged-750/    files that changed after they were written; removed after the next save
```

A folder without its record is no checkpoint: the process that wrote it was killed. Older ones are
deleted only after the record of a newer one is on disk. So a run that is killed at any moment, or
finds its newest checkpoint damaged, continues from the one before.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import xxhash

from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.log import log
from mpjax.runs.digests import damage, digests

STATE, FILES, RECORD = "state", "files", "record.json"
LEGACY = "default"  # Orbax's files in runs of earlier versions, without a record
DAMAGED = "damaged-"


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, in order."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isdecimal()]
    return sorted(int(p.name) for p in found if (p / RECORD).is_file() or (p / LEGACY).is_dir())


def state_folder(checkpoint: Path) -> Path:
    """Orbax's folder of a checkpoint."""
    return checkpoint / (STATE if (checkpoint / RECORD).is_file() else LEGACY)


def write_record(checkpoint: Path, rank: float | None) -> None:
    """Makes a checkpoint of a folder with all files in place."""
    record = {"step": int(checkpoint.name), "rank": rank, "digests": digests(checkpoint)}
    write_json(checkpoint / RECORD, {**record, "own": _own_digest(record)})


def damage_of(checkpoint: Path) -> str | None:
    """Damage of a checkpoint, None if it is as it was written."""
    if not (checkpoint / RECORD).is_file():
        log.warning("%s is of an earlier version of mpjax, without digests", checkpoint)
        return None
    try:
        record = read_object(checkpoint / RECORD)
        if not _as_written(record, checkpoint):
            return f"{RECORD} has other content than was written"
        return damage(checkpoint, record["digests"])
    except (InputError, OSError) as error:
        return f"{RECORD} or a file that it names cannot be read ({error})"


def newest_whole(folder: Path, strict: bool) -> int:
    """Step of the newest checkpoint that is as it was written; 0 without any checkpoint.

    Damaged ones are named in a warning and renamed.

    Raises:
      InputError: all checkpoints are damaged; with `strict`, the newest one is.
    """
    found, damaged = steps(folder), dict[int, str]()
    for step in reversed(found):
        if (reason := damage_of(folder / str(step))) is None:
            break
        damaged[step] = reason
    if not damaged:
        return found[-1] if found else 0
    told = "; ".join(f"checkpoint {step} in {folder}: {why}" for step, why in damaged.items())
    if len(damaged) == len(found):
        raise InputError(
            f"{told}. No checkpoint is left to continue from; choose another --output, or remove "
            "this one to train anew"
        )
    last = max(step for step in found if step not in damaged)
    if strict:
        raise InputError(f"{told}. Without --strict the run continues from step {last}")
    log.warning("%s. Continuing from step %d", told, last)
    for step in damaged:
        (folder / str(step)).rename(folder / f"{DAMAGED}{step}")
    return last


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the newest checkpoints and the best one, and what killed saves left.

    Args:
      keep: number of newest checkpoints to keep.
    """
    found = steps(folder)
    ranked = [(rank, step) for step in found if (rank := _rank(folder / str(step))) is not None]
    best = [max(ranked)[1]] if ranked else []
    kept = {str(step) for step in (*found[-keep:], *best)}
    for path in folder.iterdir():
        if path.name not in kept and path.is_dir():
            (path / RECORD).unlink(missing_ok=True)  # first: half a checkpoint is none
            shutil.rmtree(path)


def _rank(checkpoint: Path) -> float | None:
    """Rank of a checkpoint; None without one, and for a damaged record, which is said."""
    path = checkpoint / RECORD
    if not path.is_file():
        return None
    try:
        record = read_object(path)
    except InputError as error:
        log.warning("%s; its checkpoint is not ranked", error)
        return None
    if not _as_written(record, checkpoint):
        log.warning("%s has other content than was written; its checkpoint is not ranked", path)
        return None
    return record["rank"]


def _as_written(record: dict[str, Any], checkpoint: Path) -> bool:
    """Whether a record has the digest that it names, and is in the folder of its step."""
    rest = {name: value for name, value in record.items() if name != "own"}
    return record.get("own") == _own_digest(rest) and rest.get("step") == int(checkpoint.name)


def _own_digest(record: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(record, sort_keys=True).encode())
