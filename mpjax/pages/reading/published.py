"""Published runs: `published.csv`, the authors' result sheet of Sanh, Wolf and Rush (2020).

All are of BERT-base on all rows of the task.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mpjax.config.checks import DENSE
from mpjax.config.train import TrainConfig
from mpjax.pages.reading.record import Run, mapping, number

TABLE = Path(__file__).with_name("published.csv")
SOURCE = "result sheet of Sanh, Wolf and Rush, Movement Pruning, 2020 (BERT-base, all rows)"
RANKED = ("magnitude", "movement")  # methods that the paper ran with either scope
# Our names of the published scores, the primary one of a task first.
SCORES = {
    "mnli": {"accuracy": "acc_m", "accuracy_mismatched": "acc_mm"},
    "qqp": {"accuracy": "acc", "f1": "f1"},
    "squad": {"f1": "f1", "exact_match": "em"},
}
# Of BERT-base: weights of the encoder's matrices, and its biases and LayerNorm parameters.
PRUNABLE, OTHERS = 84_934_656, 119_808


@dataclasses.dataclass(frozen=True)
class PublishedRun:
    """One line of the sheet.

    Attributes:
      id: TASK-METHOD[-SCOPE][-kd]-NN, NN from the densest on.
      scope: "" for a method that has none.
      remaining: kept weights + biases and LayerNorm, in percent of the encoder's parameters.
      scores: in percent by our names, the primary one first.
      settings: the sheet's columns of hyper-parameters that are not empty, as text.
    """

    id: str
    task: str
    method: str
    scope: str
    distilled: bool
    remaining: float
    scores: Mapping[str, float]
    settings: Mapping[str, str]

    @property
    def metric(self) -> str:
        """Name of the primary score."""
        return next(iter(self.scores))

    @property
    def score(self) -> float:
        """Primary score, in percent."""
        return self.scores[self.metric]

    @property
    def group(self) -> tuple[str, str, str, bool]:
        """Task, method, scope and distillation: equal in runs that differ in density alone."""
        return self.task, self.method, self.scope, self.distilled

    @property
    def density(self) -> float:
        """Kept / prunable weights, a fraction, as `remaining` implies it for BERT-base."""
        return (self.remaining / 100 * (PRUNABLE + OTHERS) - OTHERS) / PRUNABLE


@functools.cache
def runs() -> tuple[PublishedRun, ...]:
    """All published runs, sorted by id."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(_run(dict(row)) for row in csv.DictReader(file))


def scope_of(method: str, scope: str | None) -> str:
    """Scope in the ids of published runs: "" for a method that ranks no scores.

    The sheet says "global" for L0 and soft movement, whose threshold is one number for all
    matrices; that is not the global selection of the other two.
    """
    return scope or "local" if method in RANKED else ""


def _run(row: dict[str, str]) -> PublishedRun:
    method, task = row["method"], row["task"]
    by_name = {row[f"metric{i}_name"]: float(row[f"metric{i}"]) for i in (1, 2)}
    about = ("id", "task", "method", "scope", "distilled", "remaining_pct")
    settings = {
        name: value
        for name, value in row.items()
        if value and name not in about and not name.startswith("metric")
    }
    return PublishedRun(
        id=row["id"],
        task=task,
        method=method,
        scope=scope_of(method, row["scope"]),
        distilled=row["distilled"] == "1",
        remaining=100.0 if method == DENSE else float(row["remaining_pct"]),
        scores=MappingProxyType({our: by_name[name] for our, name in SCORES[task].items()}),
        settings=MappingProxyType(settings),
    )


def nearest(run: Run) -> PublishedRun | None:
    """Published run of the nearest density, of equal task, method, scope and distillation.

    None for a run without a counterpart: of another task, structure or way to learn the scores.
    """
    remaining = number(mapping(run.result).get("encoder_remaining"))
    if remaining is None or not _published_kind(run):
        return None
    method = run.option("method")
    scope, distilled = run.option("scope"), run.config.get("teacher") is not None
    wanted = (run.option("task"), method, scope_of(str(method), scope), distilled)
    alike = [published for published in runs() if published.group == wanted]
    return min(alike, key=lambda point: abs(point.remaining - 100 * remaining), default=None)


def _published_kind(run: Run) -> bool:
    if run.option("method") == DENSE:
        return True
    names = ("score_optimizer", "structure", "dense_gradient")
    defaults = {name: getattr(TrainConfig, name) for name in names}
    return all(run.config.get(name, default) == default for name, default in defaults.items())
