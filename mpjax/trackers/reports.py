"""All trackers of one run, and the note of what each has got."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.log import log
from mpjax.trackers.base import Session, Tracker
from mpjax.trackers.known import tracker

NOTE = "trackers.json"  # id of the run, and the last step that each tracker has got

Values = Mapping[str, float]


class Reports:
    """Hands the values of each step to every tracker, once, in all sessions of a run together.

    The values of a step come in several parts and are handed on together when the next step comes.
    A tracker that raises is named in a warning and left out; the next session gives it the steps
    that it lacks.

    Args:
      names: trackers, () for none.
      folder: run folder.
      config: options of the run.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        self._names, self._folder, self._config = names, folder, config
        self._trackers: dict[str, Tracker] = {}
        self._given: dict[str, int] = {}
        self._id = ""
        self._waiting: tuple[int, dict[str, float]] = (0, {})
        self._finished = False

    def begin(
        self,
        past: Callable[[], Iterable[tuple[int, Values]]] = tuple,
        changed_after: int | None = None,
    ) -> None:
        """Opens the trackers and gives them the steps that they lack.

        Args:
          past: values of the steps before this session, in order; called where there are trackers.
          changed_after: last step of the sessions before, where this one trains the later steps
            with other options. A tracker that can replace steps gets them again.
        """
        if not self._names:
            return
        note = _read_note(self._folder / NOTE)
        self._id = str(note.get("id") or uuid.uuid4().hex[:12])
        self._given = {name: step for name, step in note.items() if isinstance(step, int)}
        if changed_after is not None:
            self._given = {name: min(step, changed_after) for name, step in self._given.items()}
        self._save()
        for name in self._names:
            with self._guard(name):
                self._open(name)
        for step, values in past() if self._trackers else ():
            self.write(step, values)

    def write(self, step: int, values: Values) -> None:
        """Takes values of a step."""
        if not self._trackers:
            return
        if step != self._waiting[0]:
            self._hand_on()
            self._waiting = step, {}
        self._waiting[1].update(values)

    def result(self, values: Mapping[str, Any]) -> None:
        """Takes the content of `result.json`, behind the last step."""
        self._hand_on()
        self._finished = True
        for name, each in list(self._trackers.items()):
            with self._guard(name):
                each.result(values)

    def _open(self, name: str) -> None:
        given = self._given.get(name, 0)
        session = Session(self._folder, self._id, self._config, given)
        self._trackers[name] = tracker(name).start(session)
        held = self._trackers[name].held
        self._given[name] = given if held is None else max(held, 0)

    def _hand_on(self) -> None:
        (step, values), self._waiting = self._waiting, (0, {})
        if not values:
            return
        for name, each in list(self._trackers.items()):
            if step > self._given[name]:
                with self._guard(name):
                    each.log(step, values)
                    self._given[name] = step
        self._save()

    def _save(self) -> None:
        """Replaces the note; a disk that is full keeps the old one, and training goes on."""
        path = self._folder / NOTE
        part = path.with_name(f".{NOTE}.part")
        with suppress(OSError):
            part.write_text(json.dumps({"id": self._id, **self._given}), encoding="utf-8")
            os.replace(part, path)

    def _guard(self, name: str) -> _Guard:
        return _Guard(self._trackers, name)

    def __enter__(self) -> Reports:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hand_on()
        for name, each in list(self._trackers.items()):
            with self._guard(name):
                each.close(self._finished)
        self._trackers = {}


class _Guard:
    """Leaves a tracker out that raises, with a warning."""

    def __init__(self, trackers: dict[str, Tracker], name: str) -> None:
        self._trackers, self._name = trackers, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, Exception):
            return False
        self._trackers.pop(self._name, None)
        log.warning(
            "%s fails and gets nothing more in this session, training goes on: %s: %s",
            self._name, type(error).__name__, shown(error),
        )  # fmt: skip
        return True


def lines_as_steps(lines: Iterable[Mapping[str, Any]]) -> Iterable[tuple[int, dict[str, float]]]:
    """Steps and values of the lines of `metrics.jsonl`.

    >>> list(lines_as_steps([{"step": 2, "loss": 0.5}, {"step": 2, "eval": {"f1": 50.0}}]))
    [(2, {'loss': 0.5}), (2, {'eval/f1': 50.0})]
    """
    for line in lines:
        values = {f"eval/{name}": value for name, value in line.get("eval", {}).items()} or line
        yield line["step"], {k: v for k, v in values.items() if k != "step" and _finite(v)}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read_note(path: Path) -> dict[str, Any]:
    """Note of the sessions before; {} for none, and for a damaged one, which is said."""
    if not path.is_file():
        return {}
    try:
        return read_object(path)
    except InputError as error:
        log.warning("%s; the trackers get the whole run again, as a new one", error)
        return {}
