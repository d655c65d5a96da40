"""What a person sees and does while a run is going: a bar, notes on stderr, a polite stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any

log = logging.getLogger("mpjax")


class Interrupted(KeyboardInterrupt):
    """A run stopped at the wish of its user, its state saved.

    Attributes:
      signal: number of the signal that asked for it.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.signal = signal


def bar(steps: Iterable[Any], total: int, done: int, what: str) -> Any:
    """A tqdm bar over steps, on stderr and only on a terminal.

    Args:
      steps: what to iterate over. total: length of the bar. done: where it starts.
      what: label in front of it.
    """
    import tqdm

    return tqdm.tqdm(
        steps, total=total, initial=done, desc=what, unit="step", disable=None, file=sys.stderr
    )


class StopRequests:
    """Turns the first Ctrl-C or SIGTERM into a request that the loop sees between two steps.

    The second one acts at once, as usual. Outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = number
        self._give_back()
        log.warning("stopping after this step; once more to stop at once")

    def _give_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
