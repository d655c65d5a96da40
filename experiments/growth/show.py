"""Table and picture of growth. The picture needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.growth.axes import AXES
from experiments.paper.plot import panels, save
from mpjax.report import render

Rows = Sequence[Mapping[str, float]]
UNITS = {"model": "million pruned weights", "length": "tokens", "batch": "rows"}


def table(found: Mapping[str, Rows]) -> str:
    """Table of all axes; a time has the one beside it, and how often it holds that.

    >>> row = {"at": 10, "seconds": 3.0, "beside": 2.0, "bytes": 5e8}
    >>> print(table({"members": [row]}))
    axis     at                 time  s            beside it  s  ratio   GB
    -------  --  -------------------  -  -------------------  -  -----  ---
    members  10  step of all at once  3  one after the other  2   1.50  0.5
    """
    rows = [
        [name, f"{row['at']:,.3g}" if row["at"] < 1000 else f"{row['at']:,.0f}",
         AXES[name].seconds, f"{row['seconds']:.3g}", AXES[name].beside, f"{row['beside']:.3g}",
         f"{row['seconds'] / row['beside']:.2f}", f"{row['bytes'] / 1e9:.3g}"]
        for name, points in found.items() for row in points
    ]  # fmt: skip
    return render(["axis", "at", "time", "s", "beside it", "s", "ratio", "GB"], rows)


def draw(found: Mapping[str, Rows], path: Path) -> Path:
    """Writes the picture and returns `path`; errors as of `panels`."""
    shown = {name: rows for name, rows in found.items() if rows}
    figure, axes = panels(len(shown), "--output", path, columns=4)
    figure.set_size_inches(16, 4 * -(-len(shown) // 4))
    for panel, (name, rows) in zip(axes, shown.items(), strict=True):
        at = [row["at"] for row in rows]
        panel.loglog(at, [row["seconds"] for row in rows], "o-", label=AXES[name].seconds)
        panel.loglog(at, [row["beside"] for row in rows], "s--", label=AXES[name].beside)
        panel.loglog(at, [row["bytes"] / 1e9 for row in rows], "^:", color="0.5", label="GB")
        panel.set_xticks(at, [f"{number:.3g}" for number in at])
        panel.yaxis.get_major_locator().set_params(subs=(1.0, 2.0, 5.0), numticks=12)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.set(title=name, xlabel=UNITS.get(name, name), ylabel="seconds; GB")
        panel.legend(fontsize="x-small")
    return save(figure, path)
