"""One row a run: what was asked for, what came of it, and the published point beside it."""

from __future__ import annotations

from mpjax.pages.reading.facts import Facts
from mpjax.pages.reading.published import SOURCE
from mpjax.pages.sections.base import NONE, Material, Section, Table, decimal, percent

_HEADER = ("run", "task", "method", "density asked", "density reached", "encoder remaining",
           "score", "dense", "teacher", "steps", "time")  # fmt: skip
_PUBLISHED = ("published run", "its remaining", "its score")


def summary(material: Material) -> Section:
    """The table of the runs."""
    with_published = any(row.published is not None for row in material.facts)
    rows = [(*_ours(row), *(_published(row) if with_published else ())) for row in material.facts]
    text = [
        "Density is kept / prunable weights of the encoder's matrices. Encoder remaining also "
        "counts biases and LayerNorm, as published. Scores are in percent, on the dev set."
    ]
    if with_published:
        text.append(
            f"Published: the run of the nearest density with equal task, method, scope and "
            f"distillation; from the {SOURCE}. Compare with care where model or rows differ."
        )
    table = Table(
        "Runs: densities, scores, steps and time",
        (*_HEADER, *(_PUBLISHED if with_published else ())),
        rows,
        [row.run for row in material.facts],
    )
    return Section("summary", "Summary", text, [table])


def duration(seconds: float | None) -> str:
    """Time in the units a person would say.

    >>> duration(42.0), duration(200.0), duration(8000.0)
    ('42 s', '3 min 20 s', '2 h 13 min')
    """
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _ours(row: Facts) -> tuple[str, ...]:
    return (
        row.run,
        row.task,
        row.method,
        row.asked_by or percent(row.asked),
        percent(row.density),
        percent(row.remaining),
        NONE if row.score is None else f"{row.score:.2f} {row.metric}",
        decimal(row.dense),
        decimal(row.teacher),
        row.steps,
        duration(row.seconds),
    )


def _published(row: Facts) -> tuple[str, ...]:
    point = row.published
    if point is None:
        return (NONE,) * 3
    return point.id, f"{point.remaining:.2f}%", f"{point.score:.2f} {point.metric}"
