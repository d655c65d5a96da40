"""Weights before and after, against their scores, and their distribution."""

from __future__ import annotations

import numpy as np

from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.lines import draw_lines
from mpjax.pages.plots.scatter import draw_points
from mpjax.pages.sections.base import Material, Section


def weights(material: Material, most_plots: int) -> Section:
    """Scatter plots for each run, and one plot of all distributions of kept weights."""
    plots, lines = list[Plot](), {}
    for run in material.pictured:
        edges, heights = map(np.asarray, material.pictures[run.name].kept)
        if len(heights):
            lines[run.name] = (edges[:-1] + edges[1:]) / 2, heights
    if lines:
        drawn = draw_lines(lines, material.styles, "probability density", x="kept weight")
        text = "Magnitude pruning leaves a gap around 0; movement pruning need not."
        plots.append(Plot("Distribution of the kept weights", drawn, text))
    for run in material.pictured[:most_plots]:
        plots += _scatter(material, run.name)
    text = "Points are a sample: half of them kept weights, half pruned ones, whatever the density."
    return Section("weights", "Weights", [text] if lines else [], plots=plots)


def _scatter(material: Material, name: str) -> list[Plot]:
    sample, style, plots = material.pictures[name].sample, material.styles[name], list[Plot]()
    if sample is None:
        return []
    if sample.before is not None:
        drawn = draw_points(
            sample.before, sample.after, sample.kept, style, ("before training", "after training")
        )
        text = ""
        if not sample.kept.all():
            unmasked = sample.after[~sample.kept].any()
            text = "Pruned weights are shown as they were before the mask."
            text = text if unmasked else "Without a checkpoint, pruned weights are shown at 0."
        plots.append(Plot(f"{name}: weights before and after", drawn, text, name))
    if sample.scores is not None:
        drawn = draw_points(
            sample.after, sample.scores, sample.kept, style, ("weight at the end", "score")
        )
        plots.append(Plot(f"{name}: weight against score", drawn, run=name))
    return plots
