"""Warnings of a run, kept in its folder."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mpjax.errors import plain
from mpjax.log import log
from mpjax.runs.folder import RunDir


class _Keep(logging.Handler):
    """Appends every warning to a file of a run, those from before it had a folder included.

    A disk that is full keeps none, and no run stops for it.
    """

    def __init__(self, run: RunDir) -> None:
        super().__init__(logging.WARNING)
        self._run = run
        self._waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._waiting.append(json.dumps({"time": now, "warning": plain(record.getMessage())}))
        self.write()

    def write(self) -> None:
        """Writes the warnings that wait, if the run has begun."""
        if not self._waiting or not self._run.config.is_file():
            return
        with suppress(OSError), self._run.warnings.open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in self._waiting)
            self._waiting = []


@contextmanager
def kept_warnings(run: RunDir, writes: bool) -> Iterator[None]:
    """Writes the warnings of mpjax to `warnings.jsonl` as well, for the report of the run.

    Args:
      writes: whether this process writes; with several, process 0 does.
    """
    if not writes:
        yield
        return
    handler = _Keep(run)
    log.addHandler(handler)
    try:
        yield
    finally:
        handler.write()
        log.removeHandler(handler)
