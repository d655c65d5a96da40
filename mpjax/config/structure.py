"""Checks of `--structure` and `--fill-from`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from mpjax.config.checks import DENSE
from mpjax.config.recorded import is_run
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule

ELEMENT = "element"
_N_OF_M = re.compile(r"\d+:\d+")


def is_n_of_m(structure: str) -> bool:
    """Whether a structure keeps a fixed number of every run of weights, in all matrices.

    >>> is_n_of_m("2:4"), is_n_of_m("attention=2:4,ffn=1:4"), is_n_of_m("attention=2:4,ffn=units")
    (True, True, False)

    Matrices of a group that is not named have single weights:

    >>> is_n_of_m("attention=2:4")
    False
    """
    named = [part.rpartition("=") for part in structure.split(",")]
    every = {group for group, _, _ in named} in ({""}, {"attention", "ffn"})
    return every and all(_N_OF_M.fullmatch(kind) for _, _, kind in named)


def check_structure(config: TrainConfig, rule: type[Rule] | None, penalty: bool) -> dict[str, Any]:
    """Density that `--structure` implies, after checking that the method supports it.

    Args:
      rule: rule of the method, None for plain fine-tuning.
      penalty: whether the run penalises its scores.

    Returns:
      ``{"density": N/M}`` for an N:M structure, else {}.
    """
    for option, value in (("attention", config.lambda_attention), ("ffn", config.lambda_ffn)):
        if value != 1 and not penalty:
            raise InputError(
                f"--lambda-{option} does not apply to {config.method} without a score penalty: "
                "it multiplies --final-lambda"
            )
    if config.structure == ELEMENT:
        return {}
    if rule is None:
        raise InputError(f"--structure does not apply to {config.method}: it prunes nothing")
    return _check_runs(config, rule)


def _check_runs(config: TrainConfig, rule: type[Rule]) -> dict[str, Any]:
    from mpjax.models.structure import parse_structure
    from mpjax.pruning.granularities import NofM

    kinds = [part.granularity for part in parse_structure(config.structure, head_size=1).parts]
    runs = [kind for kind in kinds if isinstance(kind, NofM)]
    if runs and not rule.is_density:
        raise InputError(
            f"--structure {config.structure} keeps a fixed number of weights, and --method "
            f"{config.method} has no number to keep; use movement, magnitude or l0"
        )
    if not runs or len(runs) < len(kinds):
        return {}
    if config.scope != "local":
        raise InputError(
            f"--scope {config.scope} does not apply to --structure {config.structure}: its weights "
            "compete within their runs only"
        )
    density = max(kind.density for kind in runs)
    for option, value in (("density", config.density), ("final-threshold", config.final_threshold)):
        if value not in (None, density):
            raise InputError(
                f"--{option} {value:g} and --structure {config.structure} disagree, which keeps "
                f"{density:g} of the weights; leave out --{option}"
            )
    return {"density": density}


def check_fill(config: TrainConfig) -> dict[str, Any]:
    """``{"model": run}`` with `--fill-from`, after checking it; {} without."""
    if config.fill_from is None:
        return {}
    if not is_run(os.path.expanduser(config.fill_from)):
        raise InputError(f"--fill-from {config.fill_from} is not the folder of a run")
    if config.method != DENSE:
        raise InputError(
            f"--fill-from fine-tunes what the run has left and prunes no further, but --method is "
            f"{config.method}; use --method dense"
        )
    if config.model not in ("", config.fill_from):
        raise InputError(
            f"--model {config.model} does not apply with --fill-from, which brings its model; "
            "leave it out"
        )
    return {"model": config.fill_from}
