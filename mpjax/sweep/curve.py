"""Score over density: the rows of a sweep as a table and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.report.table import percent, render

SEED = "seed"


@dataclass(frozen=True)
class Point:
    """Members that differ only in their seed.

    Attributes:
      values: value of every other axis.
      scores: in percent, of the seeds that did not diverge.
      densities: in [0, 1], of the same seeds.
      diverged: number of seeds whose loss became infinite or NaN.
    """

    values: Mapping[str, Any]
    scores: tuple[float, ...]
    densities: tuple[float, ...]
    diverged: int

    @property
    def score(self) -> float | None:
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds, None for fewer than two."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def density(self) -> float | None:
        return statistics.fmean(self.densities) if self.densities else None


def points(rows: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> list[Point]:
    """Rows of a sweep, grouped over seeds.

    Args:
      rows: from `sweep`: a value per axis, and a result.
      axes: swept fields.

    >>> result = {"metric": "accuracy", "linear_density": 0.1}
    >>> rows = [{"density": 0.1, "seed": s, **result, "score": {"accuracy": a}}
    ...         for s, a in ((0, 80.0), (1, 82.0))]
    >>> [point] = points(rows, ["density", "seed"])
    >>> point.score, round(point.deviation, 2)
    (81.0, 1.41)
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    varied = [axis for axis in axes if axis != SEED]
    for row in rows:
        groups.setdefault(tuple(row[axis] for axis in varied), []).append(row)
    found = []
    for values, members in groups.items():
        through = [row for row in members if "score" in row]
        found.append(
            Point(
                values=dict(zip(varied, values, strict=True)),
                scores=tuple(row["score"][row["metric"]] for row in through),
                densities=tuple(row["linear_density"] for row in through),
                diverged=len(members) - len(through),
            )
        )
    return found


def table(rows: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> str:
    """Text table: one line for each point, with density, score and number of seeds."""
    metric = next((row["metric"] for row in rows if "metric" in row), "score")
    varied = [axis for axis in axes if axis != SEED]
    header = [*(axis.replace("_", " ") for axis in varied), "linear density", metric, "±", "seeds"]
    lines = [
        [
            *(f"{point.values[axis]:g}" for axis in varied),
            percent(point.density),
            "-" if point.score is None else f"{point.score:.2f}",
            "-" if point.deviation is None else f"{point.deviation:.2f}",
            f"{len(point.scores)}" + f", {point.diverged} diverged" * (point.diverged > 0),
        ]
        for point in points(rows, axes)
    ]
    return render(header, lines, left=0)


def draw(rows: Sequence[Mapping[str, Any]], axes: Sequence[str], path: Path) -> Path:
    """Plots score over density: a line per setting other than density and λ, a dot per member.

    Raises:
      InputError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # pyright: ignore
        from matplotlib.figure import Figure  # pyright: ignore
    except ImportError as error:
        raise InputError(
            f"the plot needs matplotlib ({error}); install it with: pip install 'mpjax[plots]'"
        ) from error
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    panel: Any = figure.subplots()
    lines: dict[str, list[Point]] = {}
    for point in points(rows, axes):
        own = {k: v for k, v in point.values.items() if k not in ("density", "final_lambda")}
        label = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in own.items())
        lines.setdefault(label, []).append(point)
    for label, line in lines.items():
        through = sorted((p for p in line if p.scores), key=lambda p: p.density or 0.0)
        drawn = panel.plot([p.density for p in through], [p.score for p in through], label=label)
        for p in through:
            panel.scatter(p.densities, p.scores, s=16, color=drawn[0].get_color())
    metric = next((row["metric"] for row in rows if "metric" in row), "score")
    what = next((f"{row['task']}, {row['method']}" for row in rows if "method" in row), "")
    panel.set(title=what, xlabel="linear density", ylabel=metric, xscale="log")
    # A tick for each density reached, at least 8% apart: powers of ten alone would be too few.
    reached: list[float] = []
    for density in sorted(p.density for line in lines.values() for p in line if p.density):
        if not reached or density > 1.08 * reached[-1]:
            reached.append(density)
    panel.set_xticks(reached, [percent(density, 1) for density in reached])
    panel.minorticks_off()
    panel.grid(alpha=0.3)
    if len(lines) > 1:
        panel.legend(fontsize="small")
    figure.savefig(path, dpi=150)
    return path
