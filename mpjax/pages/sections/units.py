"""Heads and feed-forward units of structured runs."""

from __future__ import annotations

import numpy as np

from mpjax.config.train import TrainConfig
from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.heat import draw_cells, draw_image
from mpjax.pages.sections.base import Material, Section, Shares, Table

MOST_UNITS = 4096  # columns of an image


def units(material: Material, most_plots: int) -> Section:
    """Maps for every run whose scores cover more than one weight."""
    structured = [
        run.name
        for run in material.pictured
        if run.option("structure") not in ("", TrainConfig.structure)
    ]
    plots, rows = list[Plot](), list[tuple[str, ...]]()
    for name in structured[:most_plots]:
        picture = material.pictures[name]
        if picture.heads:
            plots.append(Plot(f"{name}: heads", _heads(picture.heads), run=name))
        if picture.units:
            plots.append(Plot(f"{name}: feed-forward units", _units(picture.units), run=name))
    for name in structured:
        picture = material.pictures[name]
        rows.append((name, _alive(picture.heads), _alive(picture.units)))
    text = ["A head or unit with 0% kept weights can be removed: mpjax shrink RUN --output DIR."]
    table = Table(
        "Heads and units with at least one kept weight", ("run", "heads", "units"), rows, structured
    )
    return Section("units", "Heads and units", text, [table] if rows else [], plots)


def _heads(layers: Shares) -> object:
    most = max(map(len, layers.values()))
    cells = [[100 * float(v) for v in shares] + [None] * (most - len(shares))
             for shares in layers.values()]  # fmt: skip
    columns = [str(i) for i in range(most)]
    return draw_cells(cells, [str(i) for i in layers], columns, ("head", "layer", "kept, %"), 100)


def _units(layers: Shares) -> object:
    most = max(map(len, layers.values()))
    image = np.zeros((len(layers), most), np.uint8)
    for row, shares in zip(image, layers.values(), strict=True):
        # Rounded up, so that a unit with a single kept weight is not shown as empty.
        row[: len(shares)] = np.ceil(100 * np.asarray(shares))
    return draw_image(image[:, :MOST_UNITS], ("unit", "layer", "kept, %"), float(most))


def _alive(layers: Shares) -> str:
    kept = sum(int(np.count_nonzero(shares)) for shares in layers.values())
    size = sum(len(shares) for shares in layers.values())
    return f"{kept:,} of {size:,}" if size else "–"
