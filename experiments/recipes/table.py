"""Groups of runs as a table: plain, as JSON, or as Markdown with one column for each recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from experiments.paper.compare import as_markdown
from experiments.paper.listing import SHORT
from experiments.recipes.detect import Recipe
from experiments.recipes.groups import Group, losses
from experiments.recipes.runs import Settings, titles
from mpjax.config import recipes
from mpjax.config.checks import DENSE
from mpjax.report.table import percent, render

MISSED = "!: a density more than 0.2 points (0.05 below 5%) away from the density asked."
Form = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def long(groups: Sequence[Group], markdown: bool = False) -> str:
    """One table for each task and its settings, one row for each group, in the order given."""
    form: Form = as_markdown if markdown else lambda header, rows: render(header, rows, left=2)
    pairs = list(zip(groups, losses(groups), strict=True))
    parts = []
    for settings in titles(one.settings for one in groups):
        mine = [(one, loss) for one, loss in pairs if one.settings == settings]
        title = f"{settings.task}: {', '.join(settings.parts())}"
        metric = mine[0][0].metric
        header = (
            "recipe",
            "differs in",
            "asked",
            "density",
            "seeds",
            SHORT.get(metric, metric),
            "min..max",
            "loss",
        )
        rows = [_row(one, loss) for one, loss in mine]
        parts.append(f"{'### ' * markdown}{title}\n\n{form(header, rows)}")
    notes = ["Loss: mean score of the dense runs of the table minus the mean score."]
    return "\n\n".join([*parts, "\n".join(notes + [MISSED] * any(one.missed for one in groups))])


def compact(groups: Sequence[Group]) -> str:
    """Markdown table with one row for each task and density and one column for each recipe.

    Cells are the mean score, ± half the range over the seeds, and in brackets their number. Dense
    scores stand in every row of their task.
    """
    title = titles(one.settings for one in groups)
    known = sorted({one.recipe.name for one in groups}, key=_column)
    rows: dict[Any, dict[str, Group]] = {}
    for one in groups:
        if not one.is_dense:
            rows.setdefault(_line(one), {})[one.recipe.name] = one
    dense = {one.settings: one for one in groups if one.is_dense}
    for settings, one in dense.items():
        lines = [line for line in rows if line[0] == settings] or [_line(one)]
        for line in lines:
            rows.setdefault(line, {})[DENSE] = one
    body = [
        [title[line[0]], line[2], *(_cell(rows[line].get(name)) for name in known)]
        for line in sorted(rows)
    ]
    table = as_markdown(["task", "density", *(name.replace("_", " ") for name in known)], body)
    return f"{table}\n\n{_notes(groups, title)}"


def as_json(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Groups as JSON values; densities are fractions, scores are in percent."""
    return [
        {
            "task": one.settings.task,
            "settings": dataclasses.asdict(one.settings),
            "recipe": one.recipe.name,
            "differs_in": dict(one.recipe.differs),
            "density_asked": one.recipe.density,
            "final_lambda": one.recipe.penalty,
            "linear_density": one.density,
            "density_missed": one.missed,
            "seeds": list(one.seeds),
            "runs": [run.name for run in one.runs],
            "metric": one.metric,
            "score": {"mean": one.mean, "min": one.low, "max": one.high},
            "loss": loss,
        }
        for one, loss in zip(groups, losses(groups), strict=True)
    ]


def options(recipe: Recipe) -> str:
    """Options that differ, in the form of ``run --set``.

    >>> options(Recipe("dense", None, None, (("clip", 2.0), ("learning_rate", 8e-5))))
    'clip=2.0 learning_rate=8e-05'
    """
    return " ".join(f"{name}={value}" for name, value in recipe.differs)


def _row(one: Group, loss: float | None) -> tuple[str, ...]:
    return (
        one.recipe.name,
        options(one.recipe) or "–",
        _asked(one.recipe),
        percent(one.density) + " !" * one.missed,
        _seeds(one),
        f"{one.mean:.2f}",
        f"{one.low:.2f}..{one.high:.2f}" if len(one.runs) > 1 else "–",
        "–" if loss is None else f"{loss:.2f}",
    )


def _asked(recipe: Recipe) -> str:
    if recipe.penalty is not None:
        return f"λ {recipe.penalty:g}"
    return "–" if recipe.density is None else f"{100 * recipe.density:g}%"


def _seeds(one: Group) -> str:
    """Number of seeds, and of runs where a seed was run again."""
    count, runs = len(one.seeds), len(one.runs)
    return f"{count}" if count == runs else f"{count}, {runs} runs"


def _column(name: str) -> tuple[bool, bool, bool, str]:
    """Order of the columns: dense, recipes with the recommended one first, methods."""
    return name != DENSE, name not in recipes.names(), name != recipes.RECOMMENDED, name


def _line(one: Group) -> tuple[Settings, float, str]:
    """Settings, negative density and its text: the row of a group. Each λ has its own."""
    recipe = one.recipe
    if recipe.density is not None:
        return one.settings, -recipe.density, _asked(recipe)
    by = f" ({_asked(recipe)})" if recipe.penalty is not None else ""
    return one.settings, -one.density, f"{percent(one.density)}{by}"


def _cell(one: Group | None) -> str:
    if one is None:
        return ""
    spread = f" ± {(one.high - one.low) / 2:.1f}" if len(one.runs) > 1 else ""
    missed = f", {percent(one.density)} !" if one.missed else ""
    return f"{one.mean:.1f}{spread} ({_seeds(one)}){missed}"


def _notes(groups: Sequence[Group], title: dict[Settings, str]) -> str:
    lines = ["Mean score ± half the range over seeds (number of seeds)."]
    for settings, name in title.items():
        metric = next(one.metric for one in groups if one.settings == settings)
        lines.append(f"{name}: {metric}; {', '.join(settings.parts())}.")
    differing: dict[str, list[str]] = {}
    for one in groups:
        if one.recipe.differs:
            places = differing.setdefault(f"{one.recipe.name} with {options(one.recipe)}", [])
            places += [title[one.settings]] * (title[one.settings] not in places)
    lines += [f"{text} ({', '.join(places)})." for text, places in differing.items()]
    return "\n".join(f"* {line}" for line in lines + [MISSED] * any(one.missed for one in groups))
