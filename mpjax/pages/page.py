"""The page: sections of a comparison as one HTML text that loads nothing."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path

from bokeh.embed import components
from bokeh.resources import Resources
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mpjax import __version__
from mpjax.pages.material import gather
from mpjax.pages.plots.base import DASHES
from mpjax.pages.reading.record import Run
from mpjax.pages.sections.background import background
from mpjax.pages.sections.base import Material, Section
from mpjax.pages.sections.masks import churn, overlap
from mpjax.pages.sections.remaining import remaining
from mpjax.pages.sections.summary import summary
from mpjax.pages.sections.tradeoff import tradeoff
from mpjax.pages.sections.training import training
from mpjax.pages.sections.units import units
from mpjax.pages.sections.weights import weights

TEMPLATE = Path(__file__).with_name("template")
MOST_PANELS = 12  # runs with plots of their own; the other plots and the tables show all runs
_DASHED: dict[str, str] = dict(zip(DASHES, ("none", "8 4", "3 3", "8 3 2 3"), strict=True))


def render(runs: Sequence[Run]) -> str:
    """HTML of a report on one run or several."""
    material = gather(runs, MOST_PANELS)
    sections = [section for section in _sections(material) if not section.is_empty]
    plots = [plot for section in sections for plot in section.plots]
    script, divs = components(tuple(plot.model for plot in plots)) if plots else ("", ())
    by_plot = dict(zip(map(id, plots), divs, strict=True))
    shown = [
        {
            **{f.name: getattr(section, f.name) for f in dataclasses.fields(section)},
            "plots": [
                {"title": p.title, "text": p.text, "run": p.run, "div": by_plot[id(p)]}
                for p in section.plots
            ],
        }
        for section in sections
    ]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    library = Resources(mode="inline", components=["bokeh"]).render() if plots else ""
    return environment.get_template("page.html").render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared",
        version=__version__,
        written=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=[
            {"name": run.name, "colour": style.colour, "dash": _DASHED[style.dash]}
            for run in runs
            for style in (material.styles[run.name],)
        ],
        sections=shown,
        css=(TEMPLATE / "page.css").read_text(encoding="utf-8"),
        js=(TEMPLATE / "page.js").read_text(encoding="utf-8") if plots else "",
        scripts=library + script,
    )


def _sections(material: Material) -> list[Section]:
    runs = len(material.runs)
    sections = [
        summary(material),
        tradeoff(material),
        training(material),
        remaining(material, MOST_PANELS),
        churn(material, MOST_PANELS),
        weights(material, MOST_PANELS),
        units(material, MOST_PANELS),
        overlap(material),
        background(material),
    ]
    if runs <= MOST_PANELS:
        return sections
    said = f"Plots of single runs are drawn for the first {MOST_PANELS} of {runs} runs."
    first = sections[0]
    return [dataclasses.replace(first, text=[*first.text, said]), *sections[1:]]
