"""One run folder as a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpjax.config.recorded import CONFIG, DERIVED
from mpjax.errors import InputError
from mpjax.files import parse_object, read_bytes, read_object
from mpjax.runs.folder import RunDir

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """Files of a run as JSON values; what cannot be read is empty and said in the notes.

    Attributes:
      name: short, and unlike the names of the other runs of a page.
      metrics, masks: lines of `metrics.jsonl` and `masks.jsonl`, in the order of their steps.
      result: None for a run that is not finished.
      notes: sentences about missing and damaged files.
    """

    name: str
    folder: RunDir
    config: Json = field(default_factory=dict)
    result: Json | None = None
    sessions: tuple[Json, ...] = ()
    metrics: tuple[Json, ...] = ()
    masks: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def derived(self) -> Json:
        """Sizes that followed from the data."""
        return mapping(self.config.get(DERIVED))

    def option(self, name: str) -> str:
        """Text of an option, "" where it is not recorded."""
        value = self.config.get(name)
        return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """A finite number, or None for any other JSON value.

    >>> number(3), number("3"), number(True), number(float("nan"))
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def mapping(value: object) -> Json:
    """A JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def read_run(path: Path, name: str) -> Run:
    """Reads the small files of a run folder. Raises nothing for damaged ones."""
    folder, notes = RunDir(path), list[str]()
    config = _object(path / CONFIG, notes)
    result = _object(folder.result, notes) if folder.result.is_file() else None
    if result is None:
        notes.append("The run is not finished: it has no result.json.")
    provenance = _object(folder.provenance, notes).get("sessions")
    sessions = provenance if isinstance(provenance, list) else []
    metrics = read_steps(folder.metrics, notes)
    return Run(
        name,
        folder,
        config,
        result or None,
        tuple(mapping(session) for session in sessions),
        metrics,
        read_steps(folder.masks, notes) if folder.masks.is_file() else (),
        _warnings(folder, notes),
        (*notes, *_mishaps(metrics)),
    )


def read_steps(path: Path, notes: list[str]) -> tuple[Json, ...]:
    """Lines of a .jsonl file that are whole, sorted by step; the others are counted in a note."""
    found, damaged = list[Json](), list[int]()
    for at, line in enumerate(_lines(path, notes), 1):
        try:
            record = parse_object(path, line)
        except InputError:
            record = {}
        step = record.get("step")
        if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 2**53:
            found.append(record)
        else:
            damaged.append(at)
    if damaged:
        some = f"line {damaged[0]} is" if len(damaged) == 1 else f"{len(damaged)} lines are"
        notes.append(f"{path.name}: {some} damaged and left out.")
    return tuple(sorted(found, key=lambda record: record["step"]))


def _lines(path: Path, notes: list[str]) -> list[bytes]:
    try:
        return read_bytes(path).splitlines()
    except InputError as error:
        notes.append(f"{error}.")
        return []


def _object(path: Path, notes: list[str]) -> Json:
    try:
        return read_object(path)
    except InputError as error:
        notes.append(f"{error}.")
        return {}


def _warnings(folder: RunDir, notes: list[str]) -> tuple[str, ...]:
    """Warnings that the commands gave while they trained."""
    if not folder.warnings.is_file():
        return ()
    found = list[str]()
    for line in _lines(folder.warnings, notes):
        try:
            record = parse_object(folder.warnings, line)
        except InputError:
            continue
        found.append(f"{record.get('time', '')} {record.get('warning', '')}".strip())
    return tuple(dict.fromkeys(found))


def _mishaps(metrics: tuple[Json, ...]) -> list[str]:
    """Sentences about updates that were left out and about divergence."""
    found = [
        f"Diverged at step {line['step']}: {line['diverged']}."
        for line in metrics
        if "diverged" in line
    ]
    skipped = max((number(line.get("skipped")) or 0 for line in metrics), default=0)
    if skipped:
        found.append(f"{skipped:.0f} updates were not finite and were left out.")
    return found
