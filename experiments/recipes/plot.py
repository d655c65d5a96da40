"""Scores over densities, one panel for each task and one line for each recipe. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.paper.listing import SHORT
from experiments.paper.plot import COLOURS, log_density, panels, save
from experiments.recipes.groups import Group
from experiments.recipes.runs import titles
from mpjax.config.recipes import RECOMMENDED

# Told apart by most eyes (Okabe and Ito), beside those of the methods.
OTHERS = ("#CC79A7", "#56B4E9", "#999999", "#F0E442")


def lines(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Pruned groups by recipe, the densest first."""
    found: dict[str, list[Group]] = {}
    for one in sorted(groups, key=lambda one: -one.density):
        if not one.is_dense:
            found.setdefault(one.recipe.name, []).append(one)
    return dict(sorted(found.items()))


def draw(groups: Sequence[Group], path: Path) -> Path:
    """Writes the picture and returns `path`.

    Raises:
      InputError: a suffix of another kind, or no matplotlib.
    """
    title = titles(one.settings for one in groups)
    colour = _colours(sorted({one.recipe.name for one in groups}))
    figure, axes = panels(len(title), "--output", path)
    figure.set_size_inches(4.0 * len(title), 4.2)  # readable at the width of a page
    shown: dict[str, Any] = {}  # one legend for all panels
    for panel, (settings, name) in zip(axes, title.items(), strict=True):
        mine = [one for one in groups if one.settings == settings]
        for one in mine:
            if one.is_dense:
                panel.axhspan(one.low, one.high, color=COLOURS["dense"], alpha=0.15, linewidth=0)
                panel.axhline(one.mean, color=COLOURS["dense"], label="dense")
        for recipe, points in lines(mine).items():
            _line(panel, recipe.replace("_", " "), points, colour[recipe])
        metric = mine[0].metric
        panel.set(title=name, xlabel="linear density, %", ylabel=SHORT.get(metric, metric))
        log_density(panel)
        handles, labels = panel.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=len(shown))
    return save(figure, path)


def _line(panel: Any, label: str, points: Sequence[Group], colour: str) -> None:
    """Means with bars from the lowest to the highest seed."""
    panel.errorbar(
        [100 * one.density for one in points],
        [one.mean for one in points],
        yerr=[[one.mean - one.low for one in points], [one.high - one.mean for one in points]],
        marker="o", capsize=3, color=colour, label=label,
    )  # fmt: skip


def _colours(names: Sequence[str]) -> dict[str, str]:
    """Colours of the methods as in `experiments.paper`, of recipes in turn, the default's first."""
    new = [name for name in names if name not in COLOURS]
    new.sort(key=lambda name: name != RECOMMENDED)
    return COLOURS | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(new)}
