"""Progress bars."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import tqdm

from mpjax.log import log


def bar(steps: Iterable[Any], total: int, done: int, what: str) -> Any:
    """tqdm bar over steps, on stderr, only in a terminal and not where notes are off.

    Args:
      steps: iterable of steps.
      total: length of the bar.
      done: start of the bar.
      what: label.
    """
    disable = None if log.isEnabledFor(logging.INFO) else True
    return tqdm.tqdm(
        steps, total=total, initial=done, desc=what, unit="step", disable=disable, file=sys.stderr
    )
