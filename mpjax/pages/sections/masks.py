"""Masks over time, and overlap of the masks of runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.heat import draw_cells
from mpjax.pages.plots.lines import draw_lines
from mpjax.pages.reading.overlap import by_chance, overlaps
from mpjax.pages.reading.record import Json, Run, mapping, number
from mpjax.pages.reading.series import over_steps
from mpjax.pages.sections.base import Material, Section, Table, decimal

MOST_OVERLAPS = 24  # runs; every pair is compared
_COLUMNS = 60  # of the map of churn over steps
_KINDS = {"dropped": "Weights that leave the mask", "regrown": "Weights that come back"}


def churn(material: Material, most_plots: int) -> Section:
    """How many weights leave the mask and come back, over steps and layers."""
    recorded = [run for run in material.runs if run.masks]
    plots = []
    for kind, title in _KINDS.items():
        lines = {}
        for run in recorded:
            rates = [{"step": line["step"], kind: _rate(line, kind)} for line in run.masks]
            lines[run.name] = over_steps(rates, kind, max(16, min(600, 24_000 // len(recorded))))
        if any(len(steps) > 1 for steps, _ in lines.values()):
            drawn = draw_lines(lines, material.styles, "% of the weights, per step")
            plots.append(Plot(title, drawn))
    for run in recorded[:most_plots]:
        if (drawn := _by_layer(run)) is not None:
            plots.append(Plot(f"{run.name}: changed marks by layer", drawn, run=run.name))
    text = "Marks of the masks are compared between logged steps; a weight that leaves and comes "
    text += "back in between is not seen."
    return Section("churn", "Masks over time", [text], plots=plots)


def overlap(material: Material) -> Section:
    """Jaccard index of every pair of pruned runs with equal matrices."""
    runs = [
        run
        for run in material.pictured
        if (density := material.pictures[run.name].density) is not None and density.linear < 1
    ][:MOST_OVERLAPS]
    if len(runs) < 2:
        return Section("overlap", "Overlap of masks")
    names = [run.name for run in runs]
    table = overlaps([material.pictures[name].marks for name in names])
    if all(table[i][j] is None for i in range(len(runs)) for j in range(i)):
        return Section("overlap", "Overlap of masks")
    densities = [material.pictures[name].density for name in names]
    first, second = (density.linear for density in densities[:2] if density is not None)
    text = [
        "Jaccard index: weights that both runs keep / weights that at least one keeps. Two random "
        f"masks with the densities of {names[0]} and {names[1]} would have "
        f"{100 * by_chance(first, second):.1f}%."
    ]
    values = [[None if v is None else 100 * v for v in line] for line in table]
    drawn = draw_cells(values, names, names, ("run", "run", "overlap, %"), 100)
    rows = [
        (name, *(decimal(v, 1) for v in line)) for name, line in zip(names, values, strict=True)
    ]
    shown = Table("Overlap of masks, %", ("run", *names), rows, names, folded=len(names) > 6)
    return Section("overlap", "Overlap of masks", text, [shown], [Plot("Overlap of masks", drawn)])


def _rate(line: Json, kind: str) -> float | None:
    """Percent of all weights per step."""
    share, since = number(line.get(kind)), number(line.get("since"))
    steps = None if since is None else line["step"] - since
    return None if share is None or not steps or steps < 0 else 100 * share / steps


def _by_layer(run: Run) -> object | None:
    """Changed marks by layer and step, as a map; steps next to each other are averaged."""
    lines = [line for line in run.masks if mapping(line.get("layers"))]
    layers = sorted({key for line in lines for key in line["layers"] if key.isdecimal()}, key=int)
    if len(lines) < 2 or not layers:
        return None
    values = np.array([[_layer_rate(line, layer) for line in lines] for layer in layers])
    groups = np.array_split(np.arange(len(lines)), min(_COLUMNS, len(lines)))
    cells = [[float(np.mean(values[i, group])) for group in groups] for i in range(len(layers))]
    columns = [str(lines[group[-1]]["step"]) for group in groups]
    # The jump where a schedule begins would hide all the rest.
    most = float(np.quantile(np.array(cells), 0.95)) or float(np.max(cells)) or 1.0
    labels = ("step", "layer", "changed, % per step")
    return draw_cells(cells, layers, _unlike(columns), labels, most)


def _layer_rate(line: Json, layer: str) -> float:
    return _rate({**line, layer: line["layers"].get(layer)}, layer) or 0.0


def _unlike(columns: Sequence[str]) -> list[str]:
    """Columns with one name each, as two lines of one step have after a run continued."""
    return [name if name not in columns[:i] else f"{name} ({i})" for i, name in enumerate(columns)]
