"""Progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import tqdm


def bar(steps: Iterable[Any], total: int, done: int, what: str) -> Any:
    """tqdm bar over steps, on stderr and only in a terminal.

    Args:
      steps: iterable of steps.
      total: length of the bar.
      done: start of the bar.
      what: label.
    """
    return tqdm.tqdm(
        steps, total=total, initial=done, desc=what, unit="step", disable=None, file=sys.stderr
    )
