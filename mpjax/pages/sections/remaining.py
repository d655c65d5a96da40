"""Remaining weights by layer and matrix type."""

from __future__ import annotations

from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.heat import draw_cells
from mpjax.pages.sections.base import Material, Section, Table, percent
from mpjax.report import EncoderDensity


def remaining(material: Material, most_plots: int) -> Section:
    """A heat map and a table for every pruned run, all maps with one scale."""
    found = [
        (run.name, density)
        for run in material.pictured
        if (density := material.pictures[run.name].density) is not None and density.linear < 1
    ]
    # 1 in 20 matrices may be off the scale: a single full matrix would make the others look alike.
    shares = sorted(100 * m.kept / m.size for _, density in found for m in density.matrices)
    most = shares[min(len(shares) - 1, int(0.95 * len(shares)))] if shares else 1.0
    plots = [
        Plot(f"{name}: kept weights by layer and matrix", _map(density, most), run=name)
        for name, density in found[:most_plots]
    ]
    tables = [_table(name, density) for name, density in found]
    return Section("remaining", "What remains", tables=tables, plots=plots)


def _map(density: EncoderDensity, most: float) -> object:
    entries = density.to_json()["layers"]
    types = list(density.to_json()["types"])
    values = [
        [None if (share := entry["matrices"].get(type)) is None else 100 * share for type in types]
        for entry in entries
    ]
    rows = [str(entry["layer"]) for entry in entries]
    return draw_cells(values, rows, types, ("matrix", "layer", "kept, %"), most)


def _table(name: str, density: EncoderDensity) -> Table:
    found = density.to_json()
    rows = [
        (
            f"layer {entry['layer']}",
            *(percent(entry["matrices"].get(type)) for type in found["types"]),
            percent(entry["linear_density"]),
        )
        for entry in found["layers"]
    ]
    rows.append(("all layers", *map(percent, found["types"].values()), percent(density.linear)))
    header = ("layer", *found["types"], "all")
    return Table(f"{name}: kept weights by layer and matrix", header, rows, run=name, folded=True)
