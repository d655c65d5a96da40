"""Option names, and the values that each option accepts independently of the others."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import pkgutil
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from mpjax import plugins, tasks, trackers
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import shown

DENSE = "dense"  # the method that prunes nothing: plain fine-tuning


def methods() -> tuple[str, ...]:
    """Names for `--method`: the files of `mpjax.pruning.rules`, dense, plugins. Imports no rule.

    >>> "movement" in methods() and "dense" in methods()
    True
    """
    folder = Path(__file__).parent.parent / "pruning" / "rules"
    found = {module.name for module in pkgutil.iter_modules([str(folder)])} - {"base"}
    return (*sorted(found), DENSE, *plugins.names("rule"))


def option(field: str) -> str:
    """Command-line spelling of a field.

    >>> option("final_lambda")
    '--final-lambda'
    """
    return "--" + field.replace("_", "-")


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@functools.cache
def field_types(config: type) -> Mapping[str, Any]:
    """Types of the fields of a config by name.

    >>> @dataclasses.dataclass
    ... class Config:
    ...     seed: int = 0
    >>> field_types(Config)["seed"]
    <class 'int'>
    """
    return MappingProxyType(typing.get_type_hints(config))


def check_types(config: object) -> dict[str, str]:
    """Text of the values of a config that are paths, after a check of the type of every value.

    The command line converts its words; a program may give anything. A whole number is a number,
    and a truth value is neither.

    Raises:
      InputError: a value of another type than its option.
    """
    paths: dict[str, str] = {}
    for name, hint in field_types(type(config)).items():
        value, kinds = getattr(config, name), typing.get_args(hint) or (hint,)
        if value is None and type(None) in kinds:
            continue
        kind = kinds[0]
        allowed = {float: (float, int), str: (str, os.PathLike)}.get(kind, kind)
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{option(name)} is {shown(repr(value))}; give {_KINDS[kind]}")
        if isinstance(value, os.PathLike):
            paths[name] = str(cast("os.PathLike[str]", value))
    return paths


# Least allowed values; fields of type float or int, None allowed where the field allows it.
_LEAST = {
    "batch_size": 1, "eval_batch_size": 1, "max_length": 4, "log_every": 1, "checkpoint_every": 1,
    "steps": 1, "limit_train": 1, "limit_eval": 1, "eval_every": 1, "devices": 1, "seed": 0,
    "accumulate": 1, "keep": 1, "max_skipped": 1, "warmup": 0, "first_step": 0, "alpha_ce": 0,
    "alpha_distil": 0, "lambda_attention": 0, "lambda_ffn": 0,
    "initial_warmup": 0, "final_warmup": 0, "clip": 0, "weight_decay": 0, "final_lambda": 0,
    "initial_threshold": 0, "final_threshold": 0, "learning_rate": 0, "score_learning_rate": 0,
    "lr_floor": 0,
}  # fmt: skip


# A step by a higher learning rate could make a weight infinite from one step to the next, without
# an infinite gradient to tell it by.
MOST_RATE = 1e30


MOST_SEED = 2**32 - 1  # jax.random.key drops what is above 32 bits


_REGISTERED: dict[str, plugins.Kind] = {"method": "rule", "task": "task"}


def check_no_split(task: str, share: float | None, seed: int | None) -> None:
    """Raises `InputError` for a split of own data beside a task with a dev set of its own."""
    for name, given in (("--dev-share", share), ("--split-seed", seed)):
        if given is not None:
            raise InputError(
                f"{name} is for own data; {task} has a dev set of its own, leave it out"
            )


def check_seed_has_share(share: float | None, seed: int | None) -> None:
    """Raises `InputError` for the seed of a split that is not made."""
    if share is None and seed is not None:
        raise InputError(
            "--split-seed is of the split that --dev-share makes, and all rows are scored; give "
            "--dev-share, or leave it out"
        )


def check_dev_share(share: float | None, seed: int | None) -> None:
    """Raises `InputError` for a share of the rows that is none, or its seed; None is not given."""
    if seed is not None and not 0 <= seed <= MOST_SEED:
        raise InputError(f"--split-seed is {seed}; it must be from 0 to {MOST_SEED}")
    if share is not None and not 0 < share < 1:
        raise InputError(
            f"--dev-share is {share}; it is the share of the rows to evaluate on, above 0 and "
            "below 1"
        )


def check_ranges(config: TrainConfig) -> None:
    """Raises `InputError` for a number out of the range of its option."""
    for name, least in _LEAST.items():
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise InputError(f"{option(name)} is {value}; it must be at least {least}")
    for name in ("learning_rate", "score_learning_rate"):
        value = getattr(config, name)
        if value is not None and value > MOST_RATE:
            raise InputError(f"{option(name)} is {value:g}; it must be at most {MOST_RATE:g}")
    if config.seed > MOST_SEED:
        raise InputError(f"--seed is {config.seed}; it must be at most {MOST_SEED}")
    if not (math.isfinite(config.epochs) and config.epochs > 0):
        raise InputError(f"--epochs is {config.epochs}; it must be more than 0")
    if config.temperature is not None and not 0 < config.temperature < math.inf:
        raise InputError(f"--temperature is {config.temperature}; it must be more than 0")
    if not 0 <= config.score_beta < 1:
        raise InputError(f"--score-beta is {config.score_beta}; it must be at least 0 and below 1")
    if config.lr_start is not None and config.lr_cycle is None:
        raise InputError(
            "--lr-start is the start of the first --lr-cycle, which is missing; give it too"
        )
    for name in ("prune_every", "lr_cycle", "lr_start"):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{option(name)} is {value}; it must be more than 0")
    for name in ("warmup", "prune_every", "lr_cycle", "lr_start"):
        value = getattr(config, name)
        if value is not None and value >= 1 and value != int(value):
            raise InputError(
                f"{option(name)} is {value}; give whole steps, or a fraction of the run below 1"
            )
    if config.lr_floor and config.lr_floor >= config.learning_rate:
        raise InputError(
            f"--lr-floor {config.lr_floor:g} is not below --learning-rate "
            f"{config.learning_rate:g}, from which the rate falls to it; lower it"
        )
    check_dev_share(config.dev_share, config.split_seed)
    for name in ("density", "first_density"):
        value = getattr(config, name)
        if value is not None and not 0 < value <= 1:
            raise InputError(
                f"{option(name)} is {value}; it is the fraction of the weights to keep, above 0 "
                "and at most 1 (0.1 keeps a tenth of them)"
            )


def check_choices(config: TrainConfig) -> None:
    """Raises `InputError` for a word that its option does not accept."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kind = _REGISTERED.get(field.name)
        if kind is not None and value not in _known(kind):
            plugins.search(kind, value)
        choices = field.metadata.get("choices") if kind is None else _known(kind)
        if choices and value is not None and value not in choices:
            found, more = shown(repr(value)), "" if kind is None else plugins.hint(kind)
            raise InputError(
                f"{option(field.name)} is {found}; choose from {', '.join(choices)}{more}"
            )


def check_plugins(config: TrainConfig) -> dict[str, Any]:
    """Modules of the plugins that a run uses, as values of the config: given, and installed ones.

    They are recorded with the run.
    """
    given = plugins.split(config.plugin)
    structures = [part.rpartition("=")[2] for part in config.structure.split(",")]
    found = [
        plugins.provider("rule", config.method),
        plugins.provider("task", config.task),
        *(plugins.provider("structure", name) for name in structures),
    ]
    used = dict.fromkeys([*given, *(module for module in found if module is not None)])
    return {"plugin": ",".join(used) or None}


def _known(kind: plugins.Kind) -> tuple[str, ...]:
    return methods() if kind == "rule" else tasks.names()


def distillation(config: TrainConfig) -> dict[str, Any]:
    """Temperature and loss weights with a teacher, the published ones by default; {} without one.

    Raises:
      InputError: one of them without a teacher.
    """
    defaults = {"temperature": 2.0, "alpha_ce": 0.1, "alpha_distil": 0.9}
    given = {name: value for name in defaults if (value := getattr(config, name)) is not None}
    if config.teacher:
        return defaults | given
    for name in given:
        raise InputError(f"{option(name)} is for distillation; give a --teacher, or leave it")
    return {}


def check_trackers(config: TrainConfig) -> dict[str, Any]:
    """Trackers of a config as values of it, `--tensorboard` among them; see `trackers.chosen`."""
    given = [config.report_to] if config.report_to is not None else []
    given += ["tensorboard"] if config.tensorboard else []
    return {"report_to": ",".join(trackers.chosen(",".join(given))) or None}
