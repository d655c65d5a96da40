"""Rules of recorded runs, by the method names of the published code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mpjax.errors import InputError
from mpjax.pruning import Rule, Tree, make_rule
from mpjax.pruning.published import published_masks

RULE_NAMES = {
    "magnitude": "magnitude",
    "topK": "movement",
    "threshold": "movement",
    "sigmoied_threshold": "soft_movement",
    "l0": "l0",
}


@dataclasses.dataclass(frozen=True)
class ValueCut(Rule):
    """Keeps S > threshold, a value and not a density: the published rule between two global cuts.

    Not registered: the library has no use for a cut that lags behind the scores.
    """

    is_density = False

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        """Masks S > threshold, never less than the published floor of a matrix."""
        del kernels, noise  # one score per weight: their shapes are the kernels'
        fixed = jax.lax.stop_gradient(scores)
        return published_masks("threshold", fixed, fixed, threshold)


def case_rule(settings: Mapping[str, Any]) -> Rule:
    """Rule of a recorded run, from its published method name and its thresholds.

    Raises:
      InputError: an unknown method.
    """
    options = {
        "initial": settings["initial_threshold"],
        "final": settings["final_threshold"],
        "regularization": settings["regularization"] or "none",
    }
    every, method = settings.get("global_topk_frequency"), settings["method"]
    if method not in RULE_NAMES:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(RULE_NAMES)}")
    if method == "threshold" and every != 1:
        make_rule(RULE_NAMES[method], **options)  # checks the densities
        return ValueCut(**options)
    if every is not None:
        options |= {"scope": "global", "published_cut": True}
    if method == "l0":
        options |= {"cut": False}
    return make_rule(RULE_NAMES[method], **options)


def published_cut(scores: Tree, density: float) -> float:
    """Value of the published global cut: -100 at density 1, else the kth smallest score."""
    if density == 1.0:
        return -100.0
    values = np.sort(np.concatenate([np.ravel(s) for s in jax.tree.leaves(scores)]))
    return float(values[max(values.size - (int(values.size * density) + 1), 1) - 1])
