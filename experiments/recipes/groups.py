"""Runs that differ in the seed alone, their mean and spread, and the loss against dense runs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.recipes.detect import Recipe
from experiments.recipes.runs import Run, Settings
from mpjax.config.checks import option
from mpjax.errors import InputError

# Largest distance of the density reached from the density asked, below and from 5% on.
FINE, COARSE, BOUND = 0.0005, 0.002, 0.05


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one recipe and density on one task that differ in the seed alone."""

    runs: tuple[Run, ...]

    @property
    def settings(self) -> Settings:
        return self.runs[0].settings

    @property
    def recipe(self) -> Recipe:
        return self.runs[0].recipe

    @property
    def is_dense(self) -> bool:
        return self.runs[0].is_dense

    @property
    def metric(self) -> str:
        return self.runs[0].metric

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, each once: a run repeated with its seed is no further seed."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def density(self) -> float:
        """Mean of the linear densities reached, a fraction."""
        return statistics.fmean(run.density for run in self.runs)

    @property
    def missed(self) -> bool:
        """Whether a run is more than 0.2 points (0.05 below 5%) away from the density asked."""
        asked = self.recipe.density
        if asked is None:
            return False
        limit = (FINE if asked < BOUND else COARSE) + 1e-9  # rounding of the difference
        return any(abs(run.density - asked) > limit for run in self.runs)

    @property
    def mean(self) -> float:
        return statistics.fmean(run.score for run in self.runs)

    @property
    def low(self) -> float:
        return min(run.score for run in self.runs)

    @property
    def high(self) -> float:
        return max(run.score for run in self.runs)


def group(runs: Iterable[Run], apart: bool = False) -> list[Group]:
    """Groups of equal settings, recipe and density, by task and recipe, the densest first.

    Args:
      apart: give every set of options its own group, instead of refusing a second one.

    Raises:
      InputError: runs of a group that differ in an option; the message names it.
    """
    found: dict[Any, list[Run]] = {}
    for run in runs:
        recipe = run.recipe
        variant = str(recipe.differs) if apart else ""
        key = (run.settings, recipe.name, recipe.density, recipe.penalty, variant)
        found.setdefault(key, []).append(run)
    groups = [Group(tuple(sorted(members, key=lambda run: run.seed))) for members in found.values()]
    for one in groups:
        _check(one, apart)
    return sorted(
        groups, key=lambda one: (one.settings, not one.is_dense, one.recipe.name, -one.density)
    )


def losses(groups: Sequence[Group]) -> list[float | None]:
    """Mean dense score minus mean score; None for dense runs and where there is none to compare.

    The dense runs are those of equal settings, and of several sets of options the best.
    """
    dense: dict[Settings, float] = {}
    for one in groups:
        if one.is_dense:
            dense[one.settings] = max(one.mean, dense.get(one.settings, one.mean))
    return [
        None if one.is_dense or one.settings not in dense else dense[one.settings] - one.mean
        for one in groups
    ]


def _check(one: Group, apart: bool) -> None:
    first, *others = one.runs
    for run in others:
        names = sorted({*first.options, *run.options})
        differing = [
            f"{option(name)} ({first.options.get(name)} and {run.options.get(name)})"
            for name in names
            if first.options.get(name) != run.options.get(name)
        ]
        if differing:
            remedy = "move one of them away" + ("" if apart else ", or list them with: search")
            raise InputError(
                f"{first.name} and {run.name} are both {one.recipe.name} on "
                f"{one.settings.task} and differ in {', '.join(differing)}; {remedy}"
            )
