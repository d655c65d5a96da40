"""Score over density, a plot a task."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from mpjax.cards.comparison import SAME_ROWS
from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.tradeoff import Mark, Mean, draw_tradeoff
from mpjax.pages.reading.facts import Facts
from mpjax.pages.reading.published import runs
from mpjax.pages.reading.record import Run
from mpjax.pages.sections.base import Material, Section

Pair = tuple[Run, Facts]

# Options that tell which rows were scored, beside task and metric.
_ROWS = tuple(name for name in SAME_ROWS if name not in ("task", "metric"))
# Options in which runs of one mean may differ.
_FREE = ("seed", "output", "derived", "cache", "devices", "mesh", "keep", "strict")


def tradeoff(material: Material) -> Section:
    """One plot for every task, metric and set of scored rows with two finished runs.

    One is enough beside published runs.
    """
    groups: dict[tuple[str, ...], list[Pair]] = {}
    for run, row in zip(material.runs, material.facts, strict=True):
        if None not in (row.score, row.remaining) and row.remaining:
            rows = (str(run.config.get(name)) for name in _ROWS)
            groups.setdefault((row.task, row.metric, *rows), []).append((run, row))
    plots = []
    for key, pairs in groups.items():
        task, metric, *rows = key
        others = [other[2:] for other in groups if other[:2] == key[:2]]
        plot = _plot(pairs, f"{task}: {metric} over density{_differing(rows, others)}", material)
        plots += [] if plot is None else [plot]
    return Section("tradeoff", "Score over density", plots=plots)


def _plot(pairs: Sequence[Pair], title: str, material: Material) -> Plot | None:
    """Plot of the runs of one group; None for too few."""
    task, metric = pairs[0][1].task, pairs[0][1].metric
    published = [
        (run.id, run.method, run.remaining, run.score)
        for run in runs()
        if (run.task, run.metric) == (task, metric)
    ]
    if len(pairs) < 2 and not published:
        return None
    starts = {_start(run) for run, _ in pairs}
    marks = []
    for run, row in pairs:
        start = f" ({', '.join(_start(run))})" if len(starts) > 1 else ""
        marks.append(Mark(row.run, row.method + start, *_place(row)))
    means = seed_means(pairs)
    drawn = draw_tradeoff(marks, means, published, material.styles, f"{metric}, %")
    text = "Grey open marks are published runs (BERT-base, all rows). " * bool(published)
    text += "Dashes with whiskers are means over seeds ± standard deviation." * bool(means)
    return Plot(title, drawn, text)


def _start(run: Run) -> tuple[str, ...]:
    """Model and number of rows that a run began with."""
    limit = run.config.get("limit_train")
    rows = (f"{limit} rows",) if limit is not None else ()
    return (Path(run.option("model")).name or "unknown model", *rows)


def _differing(rows: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
    """Options of the rows that tell a plot from others of its task and metric."""
    told = ""
    for i, name in enumerate(_ROWS):
        if len({other[i] for other in groups}) > 1:
            told += f", {name.replace('_', ' ')} {rows[i]}"
    return told


def seed_means(pairs: Sequence[Pair]) -> list[Mean]:
    """Mean of every group of at least two runs that differ in their seed alone."""
    groups: dict[str, list[Facts]] = {}
    for run, row in pairs:
        fixed = {name: value for name, value in run.config.items() if name not in _FREE}
        if fixed:
            groups.setdefault(json.dumps(fixed, sort_keys=True), []).append(row)
    means = []
    for rows in groups.values():
        if len(rows) > 1:
            densities, scores = zip(*map(_place, rows), strict=True)
            means.append(
                Mean(
                    rows[0].method,
                    statistics.fmean(densities),
                    statistics.fmean(scores),
                    statistics.stdev(scores),
                    len(rows),
                )
            )
    return means


def _place(row: Facts) -> tuple[float, float]:
    assert row.remaining is not None and row.score is not None
    return 100 * row.remaining, row.score
