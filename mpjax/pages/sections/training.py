"""Metrics over steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mpjax.pages.plots.base import Plot
from mpjax.pages.plots.lines import draw_lines
from mpjax.pages.reading.facts import metric
from mpjax.pages.reading.record import Json, Run
from mpjax.pages.reading.series import dev_scores, over_steps
from mpjax.pages.sections.base import Material, Section, Table

POINTS = 24_000  # of one metric over all runs; a run has at most MOST of them
MOST = 600


@dataclass(frozen=True)
class Curve:
    """A metric of `metrics.jsonl`."""

    name: str
    title: str
    label: str
    factor: float = 1.0
    log: bool = False
    text: str = ""


CURVES = (
    Curve("loss", "Training loss", "loss (nats)", text="Task loss and λ · penalty, as logged."),
    Curve("task_loss", "Task loss", "loss (nats)", text="Without the penalty."),
    Curve("density", "Density", "kept weights, %", 100),
    Curve("threshold", "Threshold", "density or τ", text="A density, or the cut τ of the scores."),
    Curve("lam", "Weight of the penalty", "λ"),
    Curve("penalty", "Penalty", "R(S)"),
    Curve("grad_norm", "Gradient norm", "‖g‖ before clipping", log=True),
    Curve("learning_rate", "Learning rate of the weights", "learning rate"),
    Curve("score_learning_rate", "Learning rate of the scores", "learning rate"),
)


def training(material: Material) -> Section:
    """A plot for every metric that a run has logged more than once and that says something."""
    runs, plots = material.runs, list[Plot]()
    for name in dict.fromkeys(metric(run) for run in runs if metric(run)):
        curve = Curve(name, f"Dev score: {name}", f"{name}, %")
        plots += _plot(material, curve, lambda run, name=name: dev_scores(run, name))
    penalised = any(line.get("penalty") for run in runs for line in run.metrics)
    for curve in CURVES:
        if curve.name != "task_loss" or penalised:
            plots += _plot(material, curve, lambda run: run.metrics)
    return Section("training", "Training", plots=plots, tables=_last_values(runs))


def _plot(
    material: Material, curve: Curve, lines_of: Callable[[Run], Sequence[Json]]
) -> list[Plot]:
    most = max(16, min(MOST, POINTS // len(material.runs)))
    lines = {}
    for run in material.runs:
        steps, values = over_steps(lines_of(run), curve.name, most)
        lines[run.name] = steps, values * curve.factor
    if not any(len(steps) > 1 for steps, _ in lines.values()) or _is_nothing(lines.values()):
        return []
    drawn = draw_lines(lines, material.styles, curve.label, log=curve.log)
    return [Plot(curve.title, drawn, curve.text)]


def _is_nothing(lines: Iterable[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Whether all values are 0, as λ of a rule without a penalty."""
    return all(not values.any() for _, values in lines)


def _last_values(runs: Sequence[Run]) -> list[Table]:
    curves = [c for c in CURVES if any(c.name in line for run in runs for line in run.metrics)]
    rows = []
    for run in runs:
        last = [over_steps(run.metrics, curve.name, 10**9)[1] for curve in curves]
        rows.append(
            (run.name, *(f"{c.factor * v[-1]:.4g}" if len(v) else "–"
                         for c, v in zip(curves, last, strict=True)))
        )  # fmt: skip
    header = ("run", *(f"{c.title} ({c.label})" for c in curves))
    names = [run.name for run in runs]
    return [Table("Last logged values", header, rows, names, folded=True)] if curves else []
