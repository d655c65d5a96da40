"""Look of every plot: axes with units, colours most eyes tell apart, no fixed background.

`template/page.js` paints text and lines in the colours of the page, light or dark. The name of a
renderer is the name of its run, by which the page hides and shows runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.models import BasicTickFormatter, HoverTool
from bokeh.plotting import figure

from mpjax.pages.reading.record import Run

# Okabe and Ito's colours, without black and yellow: they vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dashed", "dotted", "dotdash")
GREY = "#999999"  # of what belongs to no run, and of pruned weights
HEIGHT = 300


@dataclass(frozen=True)
class Style:
    """Colour and dash of a run, the same in all plots of a page."""

    colour: str
    dash: str


@dataclass(frozen=True)
class Plot:
    """A plot with its place on the page.

    Attributes:
      title: also what a screen reader says of it.
      text: what to look for, "" for nothing.
      run: run that the plot is of; None for a plot of all runs.
    """

    title: str
    model: Any
    text: str = ""
    run: str | None = None


def styles(runs: Sequence[Run]) -> dict[str, Style]:
    """Style by the name of a run; colours repeat with another dash.

    >>> from pathlib import Path
    >>> from mpjax.runs.folder import RunDir
    >>> found = styles([Run(str(i), RunDir(Path())) for i in range(7)])
    >>> found["0"].colour == found["6"].colour, found["6"].dash
    (True, 'dashed')
    """
    count = len(COLOURS)
    return {
        run.name: Style(COLOURS[i % count], DASHES[i // count % len(DASHES)])
        for i, run in enumerate(runs)
    }


def axes(x: str, y: str, **options: Any) -> Any:
    """An empty figure with labelled axes, as wide as its place.

    Dragging does nothing until a tool is chosen, so that a finger scrolls the page.
    """
    drawn = figure(
        height=options.pop("height", HEIGHT),
        sizing_mode="stretch_width",
        x_axis_label=x,
        y_axis_label=y,
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag=None,
        active_scroll=None,
        background_fill_color=None,
        border_fill_color=None,
        **options,
    )
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.outline_line_color = None
    drawn.grid.grid_line_alpha = 0.4
    drawn.axis.axis_label_text_font_style = "normal"
    for axis in drawn.axis:
        if isinstance(axis.formatter, BasicTickFormatter):
            axis.formatter.use_scientific = True
            axis.formatter.power_limit_high = 5
            axis.formatter.power_limit_low = -4
    return drawn


def hover(drawn: Any, renderers: Sequence[Any], rows: Sequence[tuple[str, str]]) -> None:
    """Shows values under the pointer."""
    drawn.add_tools(HoverTool(renderers=list(renderers), tooltips=list(rows)))


def plain_legend(drawn: Any) -> None:
    """Puts the legend above the plot; a click on an entry hides what it names."""
    drawn.add_layout(drawn.legend[0], "above")
    drawn.legend.orientation = "horizontal"
    drawn.legend.click_policy = "hide"
    drawn.legend.background_fill_color = None
    drawn.legend.border_line_color = None
    drawn.legend.padding = 0
