"""Where own data are: one file, the files of a folder by split, or a data set on the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks import hub
from mpjax.tasks.own.reading.tables import KINDS, Table, join_tables, read_table

TRAIN, DEV, ALL = "train", "dev", "all"
HUB = "hub:"
_STEMS = {TRAIN: ("train", "training"), DEV: ("dev", "validation", "valid", "val", "eval")}
_LEFT = ("test",)  # a test set chooses no checkpoints

Sources = dict[str, Table]
Reader = Callable[[Path], Table]


def read_sources(data: str | Path | None, read: Reader = read_table) -> Sources:
    """Tables by what they are for: ``train`` and ``dev``, or ``all`` for a file without a split.

    Args:
      data: file, folder, or ``hub:OWNER/NAME`` with ``:CONFIG`` where the data set has several.
      read: reads a file.

    Raises:
      InputError: nothing there, files that leave a choice, or as `read_table`.
    """
    text = "" if data is None else str(data)
    if text in ("", "hub"):
        raise InputError(
            "--data is missing: own data are a file, a folder with train and dev files, or "
            "hub:OWNER/NAME"
        )
    if text.startswith(HUB):
        return _from_hub(text)
    paths = find_files(Path(text))
    stamps = tuple(_stamp(path) for found in paths.values() for path in found)
    return _from_files(
        text, tuple((role, tuple(found)) for role, found in paths.items()), stamps, read
    )


def find_files(data: Path, kinds: Sequence[str] = KINDS) -> dict[str, list[Path]]:
    """Files by what they are for, as in `read_sources`; several where a split has shards."""
    if os.path.isfile(data):
        return {ALL: [data]}
    if not os.path.isdir(data):
        raise InputError(f"--data {shown(data)} does not exist; give a folder or a file")
    files = [path for path in sorted(data.iterdir()) if path.suffix.lower() in kinds]
    found = {role: _of_split(files, stems) for role, stems in _STEMS.items()}
    others = [path for path in files if not any(path in paths for paths in found.values())]
    tests = [path for path in others if _of_split([path], _LEFT)]
    found = {role: paths for role, paths in found.items() if paths}
    if not found:
        rest = [path for path in others if path not in tests] or tests
        if len(rest) != 1:
            names = ", ".join(path.name for path in rest) or "none"
            raise InputError(
                f"--data {shown(data)} has no file train.* ({', '.join(kinds)}), and holds "
                f"{shown(names)} of these kinds; name the training file train, or give one file"
            )
        return {ALL: rest}
    for role, paths in found.items():
        if len(paths) > 1 and len({_shard(path) for path in paths}) > 1:
            names = ", ".join(path.name for path in paths)
            raise InputError(
                f"--data {shown(data)} has several files for {role}: {shown(names)}; keep one"
            )
        _check_whole(role, paths, data)
    if tests:
        log.info("%s is left for a test: give it to mpjax evaluate as --data", shown(tests[0]))
    return found


_NUMBERED = re.compile(r"-(\d+)-of-(\d+)$")


def _of_split(files: Sequence[Path], stems: Sequence[str]) -> list[Path]:
    """Files of the first of the names that there is."""
    for stem in stems:
        pattern = re.compile(rf"{stem}(-v\d+(\.\d+)?)?(-\d+-of-\d+)?", re.IGNORECASE)
        if found := [path for path in files if pattern.fullmatch(path.stem)]:
            return found
    return []


def _check_whole(role: str, paths: Sequence[Path], data: Path) -> None:
    """Raises `InputError` where shards of a split are missing."""
    numbers = [match for path in paths if (match := _NUMBERED.search(path.stem))]
    if not numbers:
        return
    present, total = {int(match[1]) for match in numbers}, int(numbers[0][2])
    if missing := total - len(present):
        raise InputError(
            f"--data {shown(data)} has {len(present)} of {total} shards for {role}, "
            f"{shown(paths[0].name)} and on: {missing} are missing; complete the download, or "
            "rename them to use them alone"
        )


def _shard(path: Path) -> str:
    """Name that the shards of one split share; the file's own name for a whole split."""
    return _NUMBERED.sub(r"-of-\2", path.stem) if "-of-" in path.stem else path.name


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2)  # a run reads its file for the labels, for training and for evaluation
def _from_files(
    data: str,
    paths: tuple[tuple[str, tuple[Path, ...]], ...],
    stamps: tuple[tuple[int, int], ...],
    read: Reader,
) -> Sources:
    return {role: join_tables([read(path) for path in found], data) for role, found in paths}


@lru_cache(maxsize=2)
def _from_hub(data: str) -> Sources:
    name, _, config = data.removeprefix(HUB).partition(":")
    splits = hub.load_splits(name, config or None)
    tables = {
        split: Table(f"{data} {split}", columns, list(enumerate(rows, 1)), "row", names)
        for split, (columns, rows, names) in splits.items()
    }
    train = next((tables[name] for name in _STEMS[TRAIN] if name in tables), None)
    dev = next((tables[name] for name in _STEMS[DEV] if name in tables), None)
    if train is None and len(tables) == 1:
        return {ALL: next(iter(tables.values()))}
    found = {role: table for role, table in ((TRAIN, train), (DEV, dev)) if table is not None}
    if not found:
        raise InputError(f"--data {data} has no split train; it has {', '.join(tables)}")
    return found
