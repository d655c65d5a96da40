"""Progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import tqdm


def bar(steps: Iterable[Any], total: int, done: int, what: str) -> Any:
    """A tqdm bar over steps, on stderr and only on a terminal.

    Args:
      steps: what to iterate over. total: length of the bar. done: where it starts.
      what: label in front of it.
    """
    return tqdm.tqdm(
        steps, total=total, initial=done, desc=what, unit="step", disable=None, file=sys.stderr
    )
