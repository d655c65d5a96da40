"""Weights as points."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpjax.pages.plots.base import GREY, Style, axes, hover, plain_legend


def draw_points(
    x: np.ndarray, y: np.ndarray, kept: np.ndarray, style: Style, labels: tuple[str, str]
) -> Any:
    """Kept weights in the colour of the run over pruned ones in grey.

    Args:
      labels: of the axes.
    """
    drawn = axes(*labels)
    for name, chosen, colour in (("pruned", ~kept, GREY), ("kept", kept, style.colour)):
        if not chosen.any():
            continue
        data = {"x": x[chosen].astype(np.float32), "y": y[chosen].astype(np.float32)}
        made = drawn.scatter(
            "x", "y", source=data, size=3, alpha=0.5, line_color=None, fill_color=colour,
            legend_label=name,
        )  # fmt: skip
        hover(drawn, [made], [("weight", name), (labels[0], "@x"), (labels[1], "@y")])
    if drawn.legend:
        plain_legend(drawn)
    return drawn
