"""Scores over densities: published points and ours, one panel per task. Needs matplotlib."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.paper import published
from experiments.paper.finished import FinishedRun
from experiments.paper.listing import SHORT
from mpjax.errors import InputError
from mpjax.pages.reading.published import SCORES

KINDS = (".png", ".pdf", ".svg")
# Told apart by most eyes (Okabe and Ito); methods that were not published share the last one.
COLOURS = {"dense": "#000000", "magnitude": "#0072B2", "l0": "#E69F00", "movement": "#009E73",
           "soft_movement": "#D55E00"}  # fmt: skip
OTHER = "#CC79A7"


@dataclasses.dataclass(frozen=True)
class Series:
    """Points of one method, scope and distillation, ours or published.

    Attributes:
      points: (encoder remaining, score), both in percent, densest first.
    """

    method: str
    scope: str
    distilled: bool
    ours: bool
    points: tuple[tuple[float, float], ...]

    @property
    def label(self) -> str:
        parts = ("ours:" * self.ours, self.method.replace("_", " "), self.scope,
                 "+ KD" * self.distilled)  # fmt: skip
        return " ".join(part for part in parts if part)


def series(task: str, runs: Sequence[FinishedRun]) -> tuple[str, list[Series]]:
    """Primary score of a task, and the series of its panel; published points first."""
    mine = [run for run in runs if run.task == task]
    score = next(iter(SCORES.get(task) or mine[0].scores))
    parts: dict[tuple[Any, bool], list[tuple[float, float]]] = {}
    for run in published.select(task=task):
        parts.setdefault((run.group, False), []).append((run.remaining, run.scores[score]))
    for run in mine:
        if score in run.scores:
            parts.setdefault((run.group, True), []).append((run.remaining, run.scores[score]))
    return score, [
        Series(method, scope, distilled, ours, tuple(sorted(points, reverse=True)))
        for ((_, method, scope, distilled), ours), points in parts.items()
    ]


def draw(runs: Sequence[FinishedRun], path: Path) -> Path:
    """Writes the picture and returns `path`; errors as of `panels`."""
    tasks = sorted({run.task for run in runs})
    figure, axes = panels(len(tasks), "--plot", path)
    for panel, task in zip(axes, tasks, strict=True):
        score, found = series(task, runs)
        for one in found:
            _points(panel, one)
        panel.set(title=task, xlabel="encoder remaining, %", ylabel=SHORT.get(score, score))
        log_density(panel)
        panel.legend(fontsize="x-small", ncols=2, loc="lower right")
    return save(figure, path)


def panels(count: int, option: str, path: Path, columns: int | None = None) -> tuple[Any, Any]:
    """Figure for the file `path` that `option` names, and its axes side by side.

    Args:
      columns: most axes in a row; None = all in one.

    Raises:
      InputError: a suffix of another kind, or no matplotlib.
    """
    if path.suffix not in KINDS:
        raise InputError(f"{option} {path}: the suffix must be one of {', '.join(KINDS)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # pyright: ignore
        from matplotlib.figure import Figure  # pyright: ignore
    except ImportError as error:
        raise InputError(
            f"{option} needs matplotlib ({error}); install it with: pip install -e '.[plots]'"
        ) from error
    figure = Figure(figsize=(7.0 * count, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    columns = min(count, columns or count)
    axes = figure.subplots(-(-count // columns), columns, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def log_density(axes: Any) -> None:
    """Logarithmic x axis for densities in percent, with a grid."""
    axes.set_xscale("log")
    axes.set_xticks((1, 2, 3, 5, 10, 20, 30, 50, 100), (1, 2, 3, 5, 10, 20, 30, 50, 100))
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def save(figure: Any, path: Path) -> Path:
    """Writes a figure, with the folders above it, and returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _points(axes: Any, one: Series) -> None:
    """Stars for ours; dots for published points, squares where global; filled with a teacher."""
    colour = COLOURS.get(one.method, OTHER)
    x, y = zip(*one.points, strict=True)
    axes.scatter(
        x, y,
        marker="*" if one.ours else "s" if one.scope == "global" else "o",
        s=160 if one.ours else 28,
        facecolors=colour if one.distilled else "none",
        edgecolors="black" if one.ours and one.distilled else colour,
        label=one.label,
        zorder=3 if one.ours else 2,
    )  # fmt: skip
