"""Numbers over steps, one line a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpjax.pages.plots.base import Style, axes, hover

FEW = 24  # points of a line that are marked


def draw_lines(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    styles: Mapping[str, Style],
    label: str,
    *,
    x: str = "step",
    log: bool = False,
) -> Any:
    """Draws one line for each run that has at least one point.

    Args:
      lines: x and y by the name of a run.
      label: of the y axis.
      log: logarithmic y axis; points that are not above 0 are left out.
    """
    drawn = axes(x, label, y_axis_type="log" if log else "linear")
    for name, (steps, values) in lines.items():
        if log:
            steps, values = steps[values > 0], values[values > 0]
        if not len(steps):
            continue
        style = styles[name]
        data = {"x": steps.astype(np.float32), "y": values.astype(np.float32)}
        made = [
            drawn.line(
                "x", "y", source=data, name=name,
                line_color=style.colour, line_dash=style.dash, line_width=2,
            )
        ]  # fmt: skip
        if len(steps) <= FEW:
            made.append(
                drawn.scatter("x", "y", source=made[0].data_source, name=name, size=6,
                              line_color=style.colour, fill_color=style.colour)
            )  # fmt: skip
        hover(drawn, made, [("run", "$name"), (x, "@x{0,0.[0000]}"), (label, "@y{0.0000}")])
    return drawn
