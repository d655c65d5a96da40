"""Parts of a section, and the material that sections are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mpjax.pages.plots.base import Plot, Style
from mpjax.pages.reading.facts import Facts
from mpjax.pages.reading.overlap import Marks
from mpjax.pages.reading.record import Run
from mpjax.pages.reading.samples import Sample
from mpjax.report import EncoderDensity

Shares = Mapping[int, np.ndarray]  # by layer: of every head, or of every unit
NONE = "–"


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its header.

    Attributes:
      caption: what the table holds, for everyone and for screen readers.
      runs: run of each row, "" for none; () if rows are not of runs.
      run: run that the whole table is of.
      folded: behind a line to click on.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    runs: Sequence[str] = ()
    run: str | None = None
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A headline, sentences, tables and plots; empty sections are left out of the page."""

    id: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.tables or self.plots)


@dataclass(frozen=True)
class Picture:
    """Small facts about the weights of one run, drawn from matrices that are not kept.

    Attributes:
      kept: edges of bins, and density of the kept weights in them.
      heads, units: share of kept weights by layer; {} for a model without.
    """

    density: EncoderDensity | None = None
    sample: Sample | None = None
    kept: tuple[Sequence[float], Sequence[float]] = ((), ())
    marks: Marks = field(default_factory=dict)
    heads: Shares = field(default_factory=dict)
    units: Shares = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Material:
    """All that a page is made of; mappings are by the names of the runs."""

    runs: Sequence[Run]
    facts: Sequence[Facts]
    pictures: Mapping[str, Picture]
    styles: Mapping[str, Style]

    @property
    def pictured(self) -> Sequence[Run]:
        """Runs that have plots of their own."""
        return [run for run in self.runs if self.pictures[run.name].density is not None]


def percent(fraction: float | None, digits: int = 2) -> str:
    """A fraction as percent, a dash for None.

    >>> percent(0.0304), percent(None)
    ('3.04%', '–')
    """
    return NONE if fraction is None else f"{100 * fraction:.{digits}f}%"


def decimal(value: float | None, digits: int = 2) -> str:
    """A number with a fixed count of digits, a dash for None."""
    return NONE if value is None else f"{value:.{digits}f}"
