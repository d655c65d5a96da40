"""Published points: `published.csv`, from the authors' result sheet of Sanh, Wolf and Rush (2020).

All are of BERT-base on all rows of the task. Density is "encoder remaining": kept weights, biases
and LayerNorm, in percent of the encoder's parameters.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from mpjax.config.checks import DENSE
from mpjax.config.train import TrainConfig
from mpjax.pages.reading.record import Run, mapping, number

SOURCE = "result sheet of Sanh, Wolf and Rush, Movement Pruning, 2020 (BERT-base, all rows)"
RANKED = ("magnitude", "movement")  # published with a scope


@dataclass(frozen=True)
class Point:
    """One published run.

    Attributes:
      scope: "" for a method that has none.
      remaining: encoder remaining in percent.
      score: in percent.
    """

    id: str
    task: str
    method: str
    scope: str
    distilled: bool
    remaining: float
    metric: str
    score: float


@functools.cache
def points() -> tuple[Point, ...]:
    """All published points, sorted by id."""
    table = Path(__file__).with_name("published.csv")
    with table.open(newline="", encoding="utf-8") as file:
        return tuple(
            Point(
                row["id"],
                row["task"],
                row["method"],
                row["scope"],
                row["distilled"] == "1",
                float(row["remaining_pct"]),
                row["metric"],
                float(row["score"]),
            )
            for row in csv.DictReader(file)
        )


def nearest(run: Run) -> Point | None:
    """Published point of the nearest density, of equal task, method, scope and distillation.

    None for a run without a counterpart: of another task, structure or way to learn the scores.
    """
    remaining = number(mapping(run.result).get("encoder_remaining"))
    if remaining is None or not _published_kind(run):
        return None
    method = run.option("method")
    wanted = (
        run.option("task"),
        method,
        (run.option("scope") or "local") if method in RANKED else "",
        run.config.get("teacher") is not None,
    )
    alike = [p for p in points() if (p.task, p.method, p.scope, p.distilled) == wanted]
    return min(alike, key=lambda point: abs(point.remaining - 100 * remaining), default=None)


def _published_kind(run: Run) -> bool:
    if run.option("method") == DENSE:
        return True
    names = ("score_optimizer", "structure", "dense_gradient")
    defaults = {name: getattr(TrainConfig, name) for name in names}
    return all(run.config.get(name, default) == default for name, default in defaults.items())
