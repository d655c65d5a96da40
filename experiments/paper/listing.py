"""Published runs as a table or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.paper.recipe import final_density
from mpjax.pages.reading.published import RANKED, PublishedRun
from mpjax.report.table import render

SHORT = {"accuracy": "acc", "accuracy_mismatched": "acc mm", "exact_match": "EM", "f1": "F1"}


def table(chosen: Iterable[PublishedRun]) -> str:
    """One line per run: id, encoder remaining, the option that decided it, and scores."""
    rows = [[r.id, f"{r.remaining:.2f}%", _decided(r), scores(r.scores)] for r in chosen]
    return render(["id", "remaining", "set by", "scores"], rows)


def as_json(chosen: Iterable[PublishedRun]) -> list[dict[str, Any]]:
    """Runs as JSON values; `settings` are the sheet's columns, unchanged."""
    return [
        {
            "id": run.id,
            "task": run.task,
            "method": run.method,
            "scope": run.scope or None,
            "distilled": run.distilled,
            "encoder_remaining_percent": run.remaining,
            "scores": dict(run.scores),
            "settings": dict(run.settings),
        }
        for run in chosen
    ]


def scores(values: Mapping[str, float]) -> str:
    """Scores in one cell.

    >>> scores({"f1": 84.862, "exact_match": 76.6})
    'F1 84.86  EM 76.60'
    """
    return "  ".join(f"{SHORT.get(name, name)} {value:.2f}" for name, value in values.items())


def _decided(run: PublishedRun) -> str:
    if run.method in RANKED:
        return f"v = {final_density(run):g}"
    penalty = run.settings.get("final_lambda")
    return "" if penalty is None else f"λ = {penalty}"
