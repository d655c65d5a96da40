"""Checks of a config that need no data, and the values that its method decides."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from mpjax import plugins
from mpjax.config.changes import changes, with_changes
from mpjax.config.checks import (
    DENSE,
    check_choices,
    check_plugins,
    check_ranges,
    check_trackers,
    check_types,
    distillation,
    option,
)
from mpjax.config.freeze import check_freeze
from mpjax.config.label_words import check_label_words
from mpjax.config.mesh import check_mesh
from mpjax.config.rule_options import check_rule_options
from mpjax.config.scores import IMPORTANCES, check_scores
from mpjax.config.structure import check_fill, check_structure, is_n_of_m
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule

HUB = "hub"  # as --data: the task's data set on the Hugging Face hub
_THRESHOLDS = ("initial_threshold", "final_threshold")
_SCORES = ("final_lambda", "regularization", "score_learning_rate", "mask_scale")


def resolve(config: TrainConfig) -> TrainConfig:
    """Checks a config as far as that needs no data, and fills in the values its method decides.

    Paths of local folders become absolute, so that a run is the same run from any directory.

    Raises:
      InputError: an option that is missing, out of range, or has no effect with the method.
    """
    config = dataclasses.replace(config, **check_types(config))
    plugins.load(config.plugin)
    config = _changed(dataclasses.replace(config, **check_fill(config)))
    for name in ("model", "task", "output"):
        if not getattr(config, name):
            raise InputError(f"{option(name)} is missing (see --help)")
    for name in ("data", "teacher"):
        if getattr(config, name) == "":
            raise InputError(f"{option(name)} is empty; give a value, or leave it out")
    check_ranges(config)
    check_choices(config)
    check_mesh(config)
    check_label_words(config)
    config = dataclasses.replace(config, **distillation(config), **check_trackers(config))
    paths = {"output": os.path.abspath(os.path.expanduser(config.output))}
    for name in ("model", "data", "teacher", "fill_from"):
        path = os.path.expanduser(getattr(config, name) or "")
        if os.path.exists(path):
            paths[name] = os.path.abspath(path)
        elif name == "data" and path not in ("", HUB) and not path.startswith(f"{HUB}:"):
            raise InputError(f"--data {config.data} does not exist; give a folder or a file")
    if config.method == DENSE:
        _refuse(config, "it prunes nothing", "density", *_SCORES, *_THRESHOLDS)
        if config.published_cut:
            raise InputError("--published-cut does not apply to dense: it prunes nothing")
        check_structure(config, None, penalty=False)
        check_scores(config, None, penalty=False, steered=False)
        check_freeze(config, None)
        check_rule_options(config, None)
        start = {"mask_init": config.mask_init or "constant"}  # as recorded by every run
        return dataclasses.replace(config, **paths, **start, **check_plugins(config))
    values = _method_values(config)
    return dataclasses.replace(config, **paths, **values, **check_plugins(config))


def config_rule(config: TrainConfig) -> Rule | None:
    """Pruning rule of a resolved config; None for plain fine-tuning."""
    from mpjax.pruning.rules import RULES, make_rule

    if config.method == DENSE:
        return None
    extra = {"published_cut": True} if config.published_cut else {}
    scope = config.scope
    if is_steered(config):
        by_density = not RULES[config.method].is_density
        extra = {"density": config.density} if by_density else {"steered": True}
        scope = scope if by_density else "global"
    extra |= check_rule_options(config, RULES[config.method])
    try:
        return make_rule(
            config.method,
            scope=scope,
            regularization=config.regularization or "none",
            initial=config.initial_threshold,
            final=config.final_threshold,
            **extra,
        )
    except ValueError as error:
        raise InputError(
            f"{error} (see --scope, --density, --initial-threshold and --final-threshold)"
        ) from error


def _changed(config: TrainConfig) -> TrainConfig:
    """Config with the values of `--continue-with`, checked against how λ comes about."""
    if "final_lambda" in changes(config) and is_steered(config):
        raise InputError(
            "--continue-with final-lambda does not apply: λ follows from --density; leave it out"
        )
    return with_changes(config)


def is_steered(config: TrainConfig) -> bool:
    """Whether λ follows by feedback from the density: soft_movement and l0 with a density alone.

    The density that an N:M structure implies needs no λ.
    """
    from mpjax.pruning.rules import RULES

    rule = RULES.get(config.method)
    return (
        rule is not None
        and rule.can_be_steered
        and config.density is not None
        and config.final_lambda is None
        and config.regularization in (None, rule.regularization)
        and not is_n_of_m(config.structure)
    )


def _method_values(config: TrainConfig) -> dict[str, Any]:
    """Thresholds, λ and score settings of a pruning run, checked against its rule."""
    from mpjax.pruning.rules import RULES

    method, rule = config.method, RULES[config.method]
    regularization = config.regularization or rule.regularization
    penalty = rule.has_scores and regularization != "none"
    fixed = check_structure(config, rule, penalty)
    config = dataclasses.replace(config, **fixed)
    steered = is_steered(config)
    check_scores(config, rule, penalty, steered)
    check_freeze(config, rule)
    density, final, lam = config.density, config.final_threshold, config.final_lambda
    if config.published_cut and (config.scope != "global" or not _has_published_cut(rule)):
        raise InputError(
            "--published-cut is the global cut of magnitude and movement; use it with "
            "--scope global and one of the two, or leave it out"
        )
    _check_steering(config, rule, regularization, steered)
    if not rule.has_scores:
        _refuse(config, "it trains no scores; use --density", *_SCORES)
    if not penalty:
        why = "it has no score penalty; leave it out, or use --method soft_movement"
        _refuse(config, why, "final_lambda")
    if config.scope not in rule.scopes:
        raise InputError(
            f"--scope {config.scope} does not apply to {method}; use {' or '.join(rule.scopes)}"
        )
    if rule.is_density and density is not None and final not in (None, density):
        raise InputError(
            f"--density {density:g} and --final-threshold {final:g} disagree; give one of them"
        )
    final = density if rule.is_density and final is None else final
    exact = rule.is_density and final is not None and config.regularization is None
    if penalty and lam is None and not exact and not steered:
        can = config.density is None and (rule.is_density or rule.can_be_steered)
        either = "--density or " if can else ""
        raise InputError(
            f"--method {method} needs {either}--final-lambda, the weight of the score penalty "
            "(100 is a start; higher is sparser)"
        )
    if rule.is_density and not penalty and final is None:
        raise InputError(f"--method {method} needs --density, the fraction of the weights to keep")
    values: dict[str, Any] = fixed | {
        "initial_threshold": _or(config.initial_threshold, rule.initial),
        "final_threshold": _or(final, rule.final),
        "mask_init": config.mask_init or _default_init(config),
    }
    if penalty and not steered:
        values["final_lambda"] = _or(lam, 0.0)
    if rule.has_scores:
        values["regularization"] = regularization
        scale = 1.0 if values["mask_init"] == "magnitude" else rule.default_score_scale
        values["mask_scale"] = _or(config.mask_scale, scale)
    if rule.has_scores and config.score_optimizer not in IMPORTANCES:
        values["score_learning_rate"] = _or(
            config.score_learning_rate, rule.default_score_learning_rate
        )
    config_rule(dataclasses.replace(config, **values))
    return values


def _default_init(config: TrainConfig) -> str:
    """Initial scores of a method. Those of movement are sizes of the weights.

    A short run cuts weights before they can have moved: scores that began at 0 would choose
    weights of any size.
    """
    by_moves = config.method == "movement" and config.score_optimizer not in IMPORTANCES
    return "magnitude" if by_moves else "constant"


def _check_steering(
    config: TrainConfig, rule: type[Rule], regularization: str, steered: bool
) -> None:
    """Raises `InputError` for a density that neither the rule nor its λ can reach."""
    if config.density is None or steered:
        return
    by_density = rule.can_be_steered and config.final_lambda is None
    if by_density and regularization != rule.regularization:
        raise InputError(
            f"--regularization {regularization} does not apply to {config.method} with --density, "
            "which is reached by its own penalty; leave it out, or give --final-lambda"
        )
    if not rule.is_density:
        raise InputError(
            f"--density and --final-lambda do not go together with {config.method}: λ follows from "
            "the density, or the density from λ; give one of them"
        )


def _has_published_cut(rule: type[Rule]) -> bool:
    return "published_cut" in rule.__dataclass_fields__


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _refuse(config: TrainConfig, why: str, *fields: str) -> None:
    for field in fields:
        if getattr(config, field) is not None:
            raise InputError(f"{option(field)} does not apply to {config.method}: {why}")
