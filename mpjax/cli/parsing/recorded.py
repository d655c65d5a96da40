"""Options that a run was given, of its `config.json`, where those that followed stand too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mpjax.config.recorded import DERIVED, as_dict
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

# Options that `resolve` fills in where they are not given.
_FILLED = (
    "final_threshold", "initial_threshold", "regularization", "final_lambda", "mask_scale",
    "mask_init", "density", "score_learning_rate", "temperature", "alpha_ce", "alpha_distil",
    "plugin", "report_to",
)  # fmt: skip


def as_given(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `config.json` without derived sizes and without those that follow from others.

    A run of ``--density 0.1`` has recorded its final threshold too. If it were given again, another
    density on the command line would contradict it.
    """
    options = {name: value for name, value in recorded.items() if name != DERIVED}
    follows: dict[str, Any] = {"model": None} if options.get("fill_from") else {}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    try:
        config = TrainConfig(**{name: options[name] for name in known & options.keys()})
        whole = as_dict(resolve(config))
        for name in _FILLED:
            without = dataclasses.replace(config, **{name: None})
            if getattr(config, name) is not None and _resolves_to(without, whole):
                config = without
                options[name] = None
    except InputError:  # data that are gone, a plugin that is not here: the command says so itself
        return options | follows
    return options | follows


def _resolves_to(config: TrainConfig, whole: Mapping[str, Any]) -> bool:
    try:
        return as_dict(resolve(config)) == whole
    except InputError:
        return False
