"""Published runs: hyper-parameters, density and scores, as recorded."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from mpjax.config.checks import DENSE
from mpjax.errors import InputError

TABLE = Path(__file__).with_name("runs.csv")
TASKS = ("mnli", "qqp", "squad")
METHODS = ("dense", "l0", "magnitude", "movement", "soft_movement")
SCOPES = ("local", "global")
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
      id: see the package.
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


def get(identity: str) -> PublishedRun:
    """Run of an id.

    Raises:
      InputError: unknown id; the message proposes the nearest ones.
    """
    known = {run.id: run for run in runs()}
    if identity not in known:
        near = difflib.get_close_matches(identity, known, n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "they are listed by: python -m experiments.paper list"
        )
        raise InputError(f"there is no published run {identity}; {hint}")
    return known[identity]


def select(
    task: str | None = None,
    method: str | None = None,
    scope: str | None = None,
    distilled: bool | None = None,
) -> Iterator[PublishedRun]:
    """Runs with these values; None admits all."""
    wanted = {"task": task, "method": method, "scope": scope, "distilled": distilled}
    for run in runs():
        if all(value in (None, getattr(run, name)) for name, value in wanted.items()):
            yield run


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
