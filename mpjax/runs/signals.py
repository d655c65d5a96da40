"""Signals as stop requests, which the loop reads between steps."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from mpjax.log import log

# Ctrl-C, a scheduler's end, a lost terminal, and the warning that SLURM sends before its end.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopRequests:
    """Records the first of `SIGNALS` instead of stopping; the second one ends the process at once.

    The second one ends it with status 128 + signal even while a compiled program runs, when Python
    handles no signals. A checkpoint that is being written then is not one; those before it are.
    Outside the main thread no signal is caught.

    Attributes:
      signal: number of the signal received, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._descriptor = -1

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
            self._ends = socket.socketpair()
            self._ends[1].setblocking(False)  # as set_wakeup_fd asks
            # The interpreter writes the number here from the C handler, whatever Python is doing.
            self._descriptor = signal.set_wakeup_fd(
                self._ends[1].fileno(), warn_on_full_buffer=False
            )
            threading.Thread(target=self._watch, args=(self._ends[0],), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ends is None:
            return
        signal.set_wakeup_fd(self._descriptor)
        self._ends[1].close()  # ends the watching thread
        self._ends = None
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is None:
            self.signal = number
            log.warning("stopping after this step; once more to stop at once")

    @staticmethod
    def _watch(end: socket.socket) -> None:
        """Ends the process at the second signal."""
        received = 0
        with end:
            while numbers := end.recv(16):
                received += sum(number in SIGNALS for number in numbers)
                if received > 1:
                    last = next(n for n in reversed(numbers) if n in SIGNALS)
                    print(
                        "mpjax: stopped at once; the same command continues from the last "
                        "checkpoint",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(128 + last)
