"""Progress on stderr: a bar in a terminal, one line a minute elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import tqdm

from mpjax.log import log
from mpjax.parallel.consensus import first

MINUTE = 60.0  # seconds between two lines
_PATIENCE = 2.0  # seconds before the bar of work that may be short
# A narrow terminal cuts the end off, so that the time left stands first.
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"

Item = TypeVar("Item")


class Pace:
    """Steps per second over the last minute, and the time left.

    The first step seen starts the clock, so that compilation counts for nothing.

    >>> pace = Pace(total=100)
    >>> pace.see(1, at=30.0)
    >>> pace.see(21, at=40.0)
    >>> pace.per_second, pace.left
    (2.0, 39.5)
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, step: int, at: float) -> None:
        """Takes a step that is done at a time in seconds."""
        self._seen.append((at, step))
        while len(self._seen) > 2 and self._seen[1][0] < at - MINUTE:
            self._seen.popleft()

    @property
    def per_second(self) -> float | None:
        """Steps per second; None before the second step."""
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return None
        (then, before), (now, step) = self._seen[0], self._seen[-1]
        return (step - before) / (now - then)

    @property
    def left(self) -> float | None:
        """Seconds to the last step; None before the second step."""
        rate = self.per_second
        return (self._total - self._seen[-1][1]) / rate if rate else None


class Progress:
    """Training as a bar, or as lines of notes.

    It shows numbers that the loop has fetched anyway, a step late, and waits for no device.

    Args:
      what: label.
      start, total: steps done before, and all of them.
      rows: rows per step, of all members together.
      clock: seconds.
    """

    def __init__(
        self,
        what: str,
        start: int,
        total: int,
        rows: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._rows, self._clock = what, total, rows, clock
        self._shown = first() and log.isEnabledFor(logging.INFO)
        self._pace, self._density, self._said = Pace(total), "", -math.inf
        self._bar = _make_bar(what, start, total, self._shown)

    def see(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes the task loss of a step, and the density where it is logged, on the host."""
        now = self._clock()
        self._pace.see(step, now)
        if "density" in metrics:  # of a logged step
            self._density = f", density {_number(metrics['density'], '.3f')}"
        text = self._text(metrics)
        if not self._bar.disable:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(step - self._bar.n)
        elif self._shown and now - self._said >= MINUTE:
            self._said = now
            log.info("%s: step %d of %d, %s", self._what, step, self._total, text)

    def compiling(self) -> None:
        """Says that the first step is being compiled."""
        if not self._bar.disable:
            self._bar.set_postfix_str("compiling")
        elif self._shown:
            log.info("%s: compiling the step", self._what)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def _text(self, metrics: Mapping[str, Any]) -> str:
        rate, left = self._pace.per_second, self._pace.left
        speed = "" if rate is None else f", {rate * self._rows:.0f} rows/s"
        time_left = "" if left is None else f"{tqdm.tqdm.format_interval(left)} left, "
        loss = _number(metrics["task_loss"], ".3g")
        return f"{time_left}loss {loss}{self._density}{speed}"


def bar(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Items, with a bar in a terminal or a line a minute elsewhere, if they take seconds."""
    shown = first() and log.isEnabledFor(logging.INFO)
    drawn, said = _make_bar(what, 0, total, shown, _PATIENCE), time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        drawn.update()
        if shown and drawn.disable and time.monotonic() - said >= MINUTE:
            said = time.monotonic()
            log.info("%s: %d of %d", what, done, total)
    drawn.close()


def _make_bar(what: str, start: int, total: int, shown: bool, delay: float = 0) -> Any:
    """tqdm bar on stderr, only in a terminal and not where notes are off."""
    return tqdm.tqdm(
        total=total, initial=start, desc=what, disable=None if shown else True, delay=delay,
        file=sys.stderr, dynamic_ncols=True, bar_format=_BAR, leave=not delay,
    )  # fmt: skip


def _number(values: Any, form: str) -> str:
    """Number, or the least and largest of several members.

    >>> _number(0.25, ".2f"), _number(np.array([0.5, 0.25]), ".2f"), _number(float("nan"), ".2f")
    ('0.25', '0.25–0.50', 'nan')
    """
    array = np.asarray(values)
    low, high = format(float(array.min()), form), format(float(array.max()), form)
    return low if low == high else f"{low}–{high}"
