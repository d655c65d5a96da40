"""Our runs beside the published point of the nearest density."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.paper import published
from experiments.paper.finished import FinishedRun
from experiments.paper.listing import scores
from mpjax.pages.reading.published import PublishedRun
from mpjax.report.table import render

HEADER = ("run", "model", "rows", "remaining", "scores", "published", "remaining", "scores")


def nearest(run: FinishedRun) -> PublishedRun | None:
    """Nearest published run in encoder remaining, of equal task, method, scope and distillation.

    A run as published, at its own density, without interpolation; None without a run of that kind.
    """
    alike = published.select(*run.group)
    return min(alike, key=lambda other: abs(other.remaining - run.remaining), default=None)


def report(runs: Sequence[FinishedRun], markdown: bool = False) -> str:
    """One table per task."""
    parts = []
    for task in sorted({run.task for run in runs}):
        rows = [_row(run) for run in runs if run.task == task]
        title = f"### {task}\n" if markdown else task
        parts.append(
            f"{title}\n{as_markdown(HEADER, rows) if markdown else render(HEADER, rows, left=2)}"
        )
    return "\n\n".join(parts)


def _row(run: FinishedRun) -> list[str]:
    other = nearest(run)
    return [
        run.name,
        run.model,
        "all" if run.rows is None else f"{run.rows:,}",
        f"{run.remaining:.2f}%",
        scores(run.scores),
        *(("–",) * 3 if other is None else _published(other)),
    ]


def _published(run: PublishedRun) -> tuple[str, ...]:
    return run.id, f"{run.remaining:.2f}%", scores(run.scores)


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown table.

    >>> print(as_markdown(["task", "F1"], [["squad", "84.9"]]))
    | task | F1 |
    | --- | --- |
    | squad | 84.9 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
