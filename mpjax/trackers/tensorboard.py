"""TensorBoard: event files in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpjax.trackers.base import Session

PACKAGE = "tensorboardX"
FOLDER = "tensorboard"


def check() -> None:
    """Needs no account."""


class _Events:
    held = None

    def __init__(self, session: Session) -> None:
        from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

        # TensorBoard hides the events from the purged step on: those of steps that are not noted.
        folder = str(session.folder / FOLDER)
        self._writer = SummaryWriter(folder, purge_step=session.given + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed process would lose two minutes otherwise

    def result(self, values: Mapping[str, Any]) -> None:
        lines = [f"{name}: {value}" for name, value in values.items()]
        self._writer.add_text("result", "  \n".join(lines), values.get("steps"))

    def close(self, finished: bool) -> None:
        self._writer.close()


start = _Events
