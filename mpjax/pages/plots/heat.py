"""Tables of numbers as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColorBar, LinearColorMapper
from bokeh.palettes import Cividis256

from mpjax.pages.plots.base import HEIGHT, axes, hover

_LABELS = 24  # of the columns, at most
_ROW = 22  # pixels of a row
_SLANTED = 5  # pixels of height for every letter of a slanted label


def draw_cells(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str, str],
    most: float,
) -> Any:
    """A coloured cell for each number.

    Args:
      values: by row and column; None leaves a cell empty.
      rows: names, from the top.
      labels: of the columns, the rows and the numbers.
      most: number with the last colour; 0 has the first.
    """
    across, down, what = labels
    cells = [
        (column, row, value)
        for row, line in zip(rows, values, strict=True)
        for column, value in zip(columns, line, strict=True)
        if value is not None
    ]
    longest = max(map(len, columns), default=0)
    slanted = longest > 8 or len(columns) > 15
    drawn = axes(
        across, down,
        x_range=list(columns), y_range=list(reversed(rows)),
        height=max(100, _ROW * len(rows)) + 75 + (_SLANTED * longest if slanted else 0),
    )  # fmt: skip
    mapper = LinearColorMapper(palette=Cividis256, low=0, high=max(most, 1e-9))
    data = {"x": [c[0] for c in cells], "y": [c[1] for c in cells], "v": [c[2] for c in cells]}
    made = drawn.rect(
        "x", "y", width=0.96, height=0.94, source=data, line_color=None,
        fill_color={"field": "v", "transform": mapper},
    )  # fmt: skip
    drawn.grid.visible = False
    if slanted:
        drawn.xaxis.major_label_orientation = 0.9
    every = -(-len(columns) // _LABELS)
    hidden = [column for i, column in enumerate(columns) if i % every]
    drawn.xaxis.major_label_overrides = dict.fromkeys(hidden, "")
    drawn.add_layout(_bar(mapper), "right")
    hover(drawn, [made], [(down, "@y"), (across, "@x"), (what, "@v{0.0}")])
    return drawn


def draw_image(values: np.ndarray, labels: tuple[str, str, str], end: float) -> Any:
    """Draws percents as an image, row 0 at the top.

    Args:
      values: (rows, columns) uint8, in percent.
      labels: of the columns, the rows and the numbers.
      end: value of the x axis at the right end.
    """
    across, down, what = labels
    rows = len(values)
    drawn = axes(
        across, down, x_range=(0, end), y_range=(rows - 0.5, -0.5), height=max(200, HEIGHT * 2 // 3)
    )
    mapper = LinearColorMapper(palette=Cividis256, low=0, high=100)
    made = drawn.image(
        image=[values], x=0, y=-0.5, dw=end, dh=rows, color_mapper=mapper, origin="top_left"
    )
    drawn.grid.visible = False
    drawn.yaxis.ticker = list(range(0, rows, max(1, rows // 12)))
    drawn.add_layout(_bar(mapper), "right")
    hover(drawn, [made], [(across, "$x{0}"), (down, "$y{0}"), (what, "@image{0}")])
    return drawn


def _bar(mapper: LinearColorMapper) -> ColorBar:
    return ColorBar(color_mapper=mapper, width=10, background_fill_color=None, margin=0, padding=6)
