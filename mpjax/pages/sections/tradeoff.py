"""Score over density, a plot a task."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence

from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.tradeoff import Mark, Mean, draw_tradeoff
from mpjax.pages.reading.facts import Facts
from mpjax.pages.reading.published import runs
from mpjax.pages.reading.record import Run
from mpjax.pages.sections.base import Material, Section

# Options in which runs of one mean may differ.
_FREE = ("seed", "output", "derived", "cache", "devices", "mesh", "keep", "strict")


def tradeoff(material: Material) -> Section:
    """One plot for every task and metric with two finished runs, or with published runs."""
    plots = []
    for task, metric in dict.fromkeys((row.task, row.metric) for row in material.facts):
        pairs = [
            (run, row)
            for run, row in zip(material.runs, material.facts, strict=True)
            if (row.task, row.metric) == (task, metric)
            and None not in (row.score, row.remaining)
            and row.remaining
        ]
        published = [
            (run.id, run.method, run.remaining, run.score)
            for run in runs()
            if (run.task, run.metric) == (task, metric)
        ]
        if len(pairs) < 2 and not (pairs and published):
            continue
        marks = [Mark(row.run, row.method, *_place(row)) for _, row in pairs]
        means = seed_means(pairs)
        drawn = draw_tradeoff(marks, means, published, material.styles, f"{metric}, %")
        text = "Grey open marks are published runs (BERT-base, all rows). " * bool(published)
        text += "Dashes with whiskers are means over seeds ± standard deviation." * bool(means)
        plots.append(Plot(f"{task}: {metric} over density", drawn, text))
    return Section("tradeoff", "Score over density", plots=plots)


def seed_means(pairs: Sequence[tuple[Run, Facts]]) -> list[Mean]:
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
