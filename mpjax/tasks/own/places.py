"""Counts and first places of rows, for messages."""

from __future__ import annotations

from collections.abc import Sequence

_FIRST = 3


def places(numbers: Sequence[int], unit: str) -> str:
    """Count of rows with the lines of the first.

    >>> places([4, 7, 9, 12], "line"), places([4], "line")
    ('4 rows (lines 4, 7, 9, ...)', '1 row (line 4)')
    """
    few = ", ".join(map(str, numbers[:_FIRST])) + (", ..." if len(numbers) > _FIRST else "")
    several = "" if len(numbers) == 1 else "s"
    return f"{len(numbers)} row{several} ({unit}{several} {few})"
