"""TensorBoard events of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mpjax.config.checks import check_tensorboard


class Board:
    """Writer of event files; without a folder it writes nothing.

    Args:
      folder: folder of the event files, or None.
      start_step: TensorBoard hides later events, which an interrupted session has left.
    """

    def __init__(self, folder: Path | None, start_step: int) -> None:
        self._writer: Any = None
        if folder is not None:
            check_tensorboard()
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

            self._writer = SummaryWriter(str(folder), purge_step=start_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one scalar per value."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()
