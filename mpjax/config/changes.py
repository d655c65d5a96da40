"""Options that change in the middle of a run, with `--continue-with`."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from mpjax.config.checks import field_types, option
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

# Options whose change leaves the form of the state, the data and their order as they are.
CHANGEABLE = (
    "learning_rate", "score_learning_rate", "lr_floor", "weight_decay", "clip", "final_lambda",
    "log_every", "eval_every",
)  # fmt: skip


def changes(config: TrainConfig) -> dict[str, Any]:
    """Values of `--continue-with` by field; {} without it.

    >>> changes(TrainConfig(continue_with="learning-rate=1e-5,clip=0.5"))
    {'learning_rate': 1e-05, 'clip': 0.5}
    """
    return dict(_change(part) for part in (config.continue_with or "").split(",") if part.strip())


def with_changes(config: TrainConfig) -> TrainConfig:
    """Config with the values of `--continue-with`."""
    return dataclasses.replace(config, **changes(config))


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.strip().partition("=")
    field = name.removeprefix("--").replace("-", "_")
    if not equals or field not in CHANGEABLE:
        known = ", ".join(option(name)[2:] for name in CHANGEABLE)
        raise InputError(
            f"--continue-with {text}: give NAME=VALUE with a name that may change in a run: {known}"
        )
    kind: Any = field_types(TrainConfig)[field]
    kind = next((part for part in typing.get_args(kind) if part is not type(None)), kind)
    try:
        return field, kind(value)
    except ValueError as error:
        raise InputError(f"--continue-with {text}: {value!r} is no number") from error
