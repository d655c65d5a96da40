"""Score over density, with published points behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.models import ColumnDataSource, Whisker

from mpjax.pages.plots.base import GREY, Style, axes, hover, plain_legend

_TICKS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
_MARKERS = {"dense": "diamond", "l0": "triangle", "magnitude": "square",
            "movement": "inverted_triangle", "soft_movement": "circle"}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """A run in the plot: density and score in percent.

    Attributes:
      curve: runs of one curve have it in common, and the legend names it.
    """

    run: str
    curve: str
    density: float
    score: float


@dataclass(frozen=True)
class Mean:
    """Mean and standard deviation of runs that differ in their seed alone."""

    label: str
    density: float
    score: float
    deviation: float
    seeds: int


def draw_tradeoff(
    marks: Sequence[Mark],
    means: Sequence[Mean],
    published: Sequence[tuple[str, str, float, float]],
    styles: Mapping[str, Style],
    metric: str,
) -> Any:
    """Draws a point a run, a whisker over seeds, and open grey marks for published runs.

    Args:
      published: (id, method, density, score).
    """
    drawn = axes("encoder remaining, % (logarithmic)", metric, x_axis_type="log", height=380)
    for method in dict.fromkeys(point[1] for point in published):
        some = [point for point in published if point[1] == method]
        data = {"id": [p[0] for p in some], "x": [p[2] for p in some], "y": [p[3] for p in some]}
        made = drawn.scatter("x", "y", source=data, size=6, line_color=GREY, fill_color=None,
                             marker=_MARKERS.get(method, "circle"))  # fmt: skip
        hover(
            drawn,
            [made],
            [("published", "@id"), ("remaining, %", "@x{0.00}"), (metric, "@y{0.00}")],
        )
    _draw_curves(drawn, marks, styles)
    for mark in marks:
        style = styles[mark.run]
        data = {"x": [mark.density], "y": [mark.score]}
        made = drawn.scatter("x", "y", source=data, name=mark.run, size=11, alpha=0.9,
                             line_color=style.colour, fill_color=style.colour)  # fmt: skip
        hover(drawn, [made], [("run", "$name"), ("remaining, %", "@x{0.00}"), (metric, "@y{0.00}")])
    _draw_means(drawn, means, metric)
    drawn.xaxis.ticker = list(_TICKS)
    drawn.xaxis.major_label_overrides = {tick: f"{tick:g}" for tick in _TICKS}
    return drawn


def _draw_curves(drawn: Any, marks: Sequence[Mark], styles: Mapping[str, Style]) -> None:
    """Joins the runs of a curve, in the colour of the first."""
    for curve in dict.fromkeys(mark.curve for mark in marks):
        some = sorted((m for m in marks if m.curve == curve), key=lambda mark: mark.density)
        if some[0].density < some[-1].density:
            x, y = [mark.density for mark in some], [mark.score for mark in some]
            colour = styles[some[0].run].colour
            drawn.line(x, y, line_color=colour, line_alpha=0.5, legend_label=curve)
    if drawn.legend:
        plain_legend(drawn)


def _draw_means(drawn: Any, means: Sequence[Mean], metric: str) -> None:
    if not means:
        return
    source = ColumnDataSource(
        {
            "label": [m.label for m in means],
            "x": [m.density for m in means],
            "y": [m.score for m in means],
            "low": [m.score - m.deviation for m in means],
            "high": [m.score + m.deviation for m in means],
            "sd": [m.deviation for m in means],
            "n": [m.seeds for m in means],
        }
    )
    bars = Whisker(base="x", lower="low", upper="high", source=source, line_color=GREY)
    drawn.add_layout(bars)
    made = drawn.scatter(
        "x", "y", source=source, marker="dash", size=18, line_color=GREY, line_width=2
    )
    rows = [("mean of", "@n seeds, @label"), (metric, "@y{0.00} ± @sd{0.00}")]
    hover(drawn, [made], rows)
