"""Trackio: a data base on this machine, or a Space of the Hugging Face hub."""

from __future__ import annotations

import contextvars
import importlib
import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from mpjax.trackers.base import Session

PACKAGE = "trackio"


def check() -> None:
    """Needs no account as long as TRACKIO_SPACE_ID names no Space."""


class _Run:
    def __init__(self, session: Session) -> None:
        trackio: Any = importlib.import_module(PACKAGE)  # not the module of this name here

        # In a context of its own: it ends the run that it knows of, another member of a sweep.
        start_run = contextvars.copy_context().run
        with redirect_stdout(io.StringIO()):  # stdout is for results
            self._run: Any = start_run(
                trackio.init,
                project=os.environ.get("TRACKIO_PROJECT", "mpjax"),
                name=f"{session.name}-{session.id}",  # it continues runs by name
                config={**session.config},
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        following = getattr(self._run, "_next_step", None)
        self.held = following - 1 if isinstance(following, int) else None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def result(self, values: Mapping[str, Any]) -> None:
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        # It has no summary; a row of its own behind the last step.
        self._run.log({f"result/{k}": v for k, v in numbers.items()}, step=values["steps"])

    def close(self, finished: bool) -> None:
        with redirect_stdout(io.StringIO()):
            self._run.finish()


start = _Run
