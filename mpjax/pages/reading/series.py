"""Numbers over steps from the lines of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpjax.pages.reading.record import Json, Run, mapping, number


def over_steps(lines: Sequence[Json], name: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a metric, thinned evenly to at most `most` points; the last one stays.

    >>> lines = [{"step": step, "loss": step / 2} for step in range(5)]
    >>> [array.tolist() for array in over_steps(lines, "loss", 3)]
    [[0, 2, 4], [0.0, 1.0, 2.0]]
    """
    found = [
        (line["step"], value) for line in lines if (value := number(line.get(name))) is not None
    ]
    if len(found) > most:
        chosen = np.unique(np.linspace(0, len(found) - 1, most).round().astype(int))
        found = [found[i] for i in chosen]
    steps, values = zip(*found, strict=True) if found else ((), ())
    return np.array(steps, np.int64), np.array(values, np.float64)


def dev_scores(run: Run, metric: str) -> list[dict[str, Any]]:
    """Lines of the scores on the dev set, in the form of the other metrics."""
    return [
        {"step": line["step"], metric: mapping(line["eval"]).get(metric)}
        for line in run.metrics
        if "eval" in line
    ]
