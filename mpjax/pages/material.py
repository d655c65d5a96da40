"""Everything a page needs of its runs, read one run after the other."""

from __future__ import annotations

from collections.abc import Sequence

from mpjax.pages.plots.base import styles
from mpjax.pages.reading.facts import facts
from mpjax.pages.reading.matrices import read_weights
from mpjax.pages.reading.overlap import packed
from mpjax.pages.reading.record import Run
from mpjax.pages.reading.samples import draw, kept_distribution
from mpjax.pages.reading.units import head_densities, unit_densities
from mpjax.pages.sections.base import Material, Picture

POINTS = 48_000  # of all scatter plots of one kind; a run has at most MOST
MOST = 4_000


def gather(runs: Sequence[Run], panels: int) -> Material:
    """Material of a page. The matrices of a run go before those of the next are read.

    Args:
      panels: number of runs that get plots of their own.
    """
    count = min(MOST, POINTS // max(1, min(panels, len(runs))))
    pictures = {}
    for i, run in enumerate(runs):
        pictures[run.name] = _picture(run, count if i < panels else 0)
    return Material(runs, [facts(run, runs) for run in runs], pictures, styles(runs))


def _picture(run: Run, count: int) -> Picture:
    weights = read_weights(run)
    final = weights.final
    edges, heights = kept_distribution(final)
    return Picture(
        density=weights.density,
        sample=draw(weights, count) if count else None,
        kept=(edges.tolist(), heights.tolist()),
        marks=packed(final),
        heads=head_densities(final, weights.head_size),
        units=unit_densities(final),
        notes=weights.notes,
    )
