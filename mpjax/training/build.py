"""Finished parts of a run from its config: pruning, optimiser, loss, learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from mpjax import models
from mpjax.config import recipes
from mpjax.config.freeze import WEIGHTS, frozen_groups
from mpjax.config.length import RunLength
from mpjax.config.resolve import config_rule
from mpjax.config.train import TrainConfig
from mpjax.optim import (
    Hyperparameters,
    OptimizerConfig,
    hold_zeros,
    make_optimizer,
    weight_schedule,
)
from mpjax.pruning import Pruning, Tree, flatten, linear_warmup_decay, select
from mpjax.training.losses import Loss, distillation_loss, task_loss

# Share of the mean |W|. MiniLM on SST-2 collapsed with 0.03, 0.3 and 0.45, and learned with 0.9.
ROOM = 2 / 3
MEASURED_WIDTH = 384  # hidden size of MiniLM, on which the rate of the recipe was found


def make_pruning(config: TrainConfig, head_size: int) -> Pruning | None:
    """Pruning of a resolved config on a model with heads of this size; None for dense.

    Raises:
      InputError: a structure that is unknown.
    """
    rule = config_rule(config)
    if rule is None:
        return None
    structure = models.parse_structure(
        config.structure,
        head_size,
        lambda_attention=config.lambda_attention,
        lambda_ffn=config.lambda_ffn,
    )
    return Pruning(rule, models.PRUNABLE, structure, config.dense_gradient)


def optimizer_config(config: TrainConfig, length: RunLength) -> OptimizerConfig:
    """Hyperparameters of a resolved config for a run of this length."""
    return OptimizerConfig(
        learning_rate=config.learning_rate,
        score_learning_rate=_or_zero(config.score_learning_rate),
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip or math.inf,  # 0 = no clipping
        warmup_steps=length.warmup_steps,
        initial_warmup=config.initial_warmup,
        final_warmup=config.final_warmup,
        final_lambda=_or_zero(config.final_lambda),
        lambda_ramp=config.lambda_ramp,
        first_step=config.first_step,
        score_optimizer=config.score_optimizer,
        score_beta=config.score_beta,
        prune_every=length.prune_every,
        first_cut=length.first_cut,
        first_density=config.first_density,
        lr_cycle=length.lr_cycle,
        lr_start=length.lr_start,
        lr_floor=config.lr_floor,
        frozen="|".join(models.GROUPS[name] for name in frozen_groups(config)),
    )


def make_optimizers(
    config: TrainConfig, pruning: Pruning | None, length: RunLength, held: Tree | None = None
) -> Callable[[Hyperparameters | None], optax.GradientTransformation]:
    """The optax chain of a run as a function of its hyperparameters, None = those of the config.

    Args:
      held: masks outside of which weights stay zero.
    """
    settings = optimizer_config(config, length)

    def optimizer(hyperparameters: Hyperparameters | None) -> optax.GradientTransformation:
        tx = make_optimizer(settings, pruning, length.total_steps, hyperparameters)
        return tx if held is None else optax.chain(hold_zeros(held), tx)

    return optimizer


def make_learning_rates(
    config: TrainConfig, length: RunLength
) -> Callable[[int], Mapping[str, Any]]:
    """Learning rates applied at update ``step``, counted from 0, by name."""
    settings, total = optimizer_config(config, length), length.total_steps
    weights = weight_schedule(settings, config.learning_rate, total)
    scores = linear_warmup_decay(settings.score_learning_rate, total, length.warmup_steps)

    def learning_rates(step: int) -> dict[str, Any]:
        rates = {"learning_rate": weights(step)}
        if config.score_learning_rate:
            rates["score_learning_rate"] = scores(step)
        return rates

    return learning_rates


def movement_note(config: TrainConfig, length: RunLength, params: Tree) -> str | None:
    """Note on a run that cuts weights before they can have moved; None for others.

    Movement scores add up which way a weight is pushed. An update moves it by about the learning
    rate, so until the first cut by at most the sum of them. Where that is less than `ROOM` of the
    mean |W|, the lowest scores are of weights still near their full size, and cut together they
    undo the training (`experiments.recipes cut`).

    Args:
      config: resolved.
      params: parameters before training.
    """
    by_moves = config.score_optimizer in ("adam", "sgd") and config.mask_init == "constant"
    if config.method != "movement" or not by_moves or WEIGHTS in frozen_groups(config):
        return None
    cut = math.ceil(config.initial_warmup * length.warmup_steps)
    rates: Any = make_learning_rates(config, length)
    distance = float(np.sum(rates(jnp.arange(cut))["learning_rate"]))  # all steps at once
    kernels = flatten(select(params, models.PRUNABLE)).values()
    size = sum(float(np.abs(w).sum()) for w in kernels) / sum(w.size for w in kernels)
    if distance >= ROOM * size:
        return None
    return (
        f"--method movement: until the first cut (step {cut}) the learning rates let a weight move "
        f"by {distance:.2g} at most, and the mean size of a weight is {size:.2g}. Weights are cut "
        "before they have moved, which may undo the training: give --density without --method, "
        "more steps, a longer --initial-warmup or a higher --learning-rate"
    )


def rate_note(config: TrainConfig, width: int) -> str | None:
    """Note on the recommended recipe's learning rate for a wide model; None for other runs.

    Args:
      config: resolved.
      width: hidden size of the model.
    """
    recipe = recipes.get(recipes.RECOMMENDED).options
    untouched = all(
        getattr(config, name) == recipe[name] for name in ("score_optimizer", "learning_rate")
    )
    if not untouched or width <= MEASURED_WIDTH:
        return None
    return (
        f"the learning rate of {config.learning_rate:g} is that of the recipe, found on a model of "
        f"width {MEASURED_WIDTH}; this one has {width}. PLATON's authors prune BERT-base with 5e-5 "
        "to 1e-4: should the loss not fall, try --learning-rate 1e-4"
    )


def make_loss(config: TrainConfig, head: str, weights: Sequence[float] | None = None) -> Loss:
    """The task's loss, or with a teacher the distilled one.

    Args:
      weights: of the classes, None = equal ones.
    """
    if config.teacher is None:
        return task_loss(head, weights)
    assert config.temperature is not None
    assert config.alpha_ce is not None and config.alpha_distil is not None
    return distillation_loss(
        head,
        temperature=config.temperature,
        alpha_ce=config.alpha_ce,
        alpha_distil=config.alpha_distil,
        weights=weights,
    )


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value
