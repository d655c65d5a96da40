"""Clocks and table lines of the benchmarks."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import jax


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call, its result ready."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def page_faults() -> int:
    """Pages that the process has asked the system for so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def row(name: str, median: float, ratio: float | None, note: str = "") -> str:
    """One line of a table: median milliseconds and a ratio."""
    return f"{name:<24}{1e3 * median:>12.1f} ms{'' if ratio is None else f'{ratio:>10.3f}'}  {note}"
