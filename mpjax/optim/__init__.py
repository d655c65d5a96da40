"""Optax chain of a pruning run, one transformation per idea."""

from mpjax.optim.held_masks import HeldMasks, held_marks, hold_masks
from mpjax.optim.hyperparameters import Hyperparameters
from mpjax.optim.make import OptimizerConfig, make_optimizer, schedules, weight_schedule
from mpjax.optim.skipping import SkipState, skip_not_finite
from mpjax.optim.steering import Funnel, SteeringState, steer_density
from mpjax.optim.transforms import (
    ClipState,
    ScorePenaltyState,
    SparsityState,
    add_score_penalty,
    clip_grad_norm,
    find_state,
    freeze_params,
    hold_zeros,
    pruning_state,
    sparsity_schedule,
)

__all__ = [
    "ClipState",
    "Funnel",
    "HeldMasks",
    "Hyperparameters",
    "OptimizerConfig",
    "ScorePenaltyState",
    "SkipState",
    "SparsityState",
    "SteeringState",
    "add_score_penalty",
    "clip_grad_norm",
    "find_state",
    "freeze_params",
    "held_marks",
    "hold_masks",
    "hold_zeros",
    "make_optimizer",
    "pruning_state",
    "schedules",
    "skip_not_finite",
    "sparsity_schedule",
    "steer_density",
    "weight_schedule",
]
