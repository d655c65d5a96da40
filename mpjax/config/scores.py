"""Checks of the options that say how scores learn and when masks change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule

IMPORTANCES = ("sensitivity", "platon")  # set scores to a running importance, see mpjax.optim


def check_scores(
    config: TrainConfig, rule: type[Rule] | None, penalty: bool, steered: bool
) -> None:
    """Raises `InputError` for an option that has no effect with the method.

    Args:
      rule: rule of the method, None for plain fine-tuning.
      penalty: whether the run penalises its scores.
      steered: whether λ follows from the density.
    """
    optimizer, default = config.score_optimizer, TrainConfig.score_optimizer
    if rule is None or not rule.has_scores:
        if optimizer != default:
            raise InputError(
                f"--score-optimizer does not apply to {config.method}: it has no scores"
            )
        if config.mask_init not in (None, "constant"):  # a run records constant
            raise InputError(f"--mask-init does not apply to {config.method}: it has no scores")
    if rule is None and config.scope != TrainConfig.scope:
        raise InputError(f"--scope does not apply to {config.method}: it prunes nothing")
    if optimizer in IMPORTANCES and rule is not None:
        if penalty or not rule.is_density:
            raise InputError(
                f"--score-optimizer {optimizer} ranks weights by an importance, which needs a cut "
                f"by density and no penalty; "
                + (
                    "leave out --regularization"
                    if penalty and rule.is_density and rule.regularization == "none"
                    else f"use --method movement, not {config.method}"
                )
            )
        if config.score_learning_rate is not None:
            raise InputError(
                f"--score-learning-rate does not apply to --score-optimizer {optimizer}, which "
                "sets the scores; leave it out"
            )
    if config.score_beta != TrainConfig.score_beta and optimizer not in IMPORTANCES:
        raise InputError(
            f"--score-beta does not apply to --score-optimizer {optimizer}, which averages no "
            f"importance; use --score-optimizer {' or '.join(IMPORTANCES)}"
        )
    if config.prune_every != 1 and rule is None:
        raise InputError(f"--prune-every does not apply to {config.method}: it prunes nothing")
    if config.lambda_ramp != TrainConfig.lambda_ramp and (not penalty or steered):
        why = "its penalty is steered" if penalty else "it has no score penalty"
        raise InputError(f"--lambda-ramp does not apply to {config.method}: {why}")
    first, final = config.first_density, config.density or config.final_threshold
    if steered and rule and config.initial_threshold not in (None, rule.initial):
        raise InputError(
            f"--initial-threshold does not apply to {config.method}: its density is steered"
        )
    if first is not None and (rule is None or not rule.is_density or steered):
        why = "its density is steered" if steered else "it has no density"
        raise InputError(f"--first-density does not apply to {config.method}: {why}")
    if first is not None and final is not None and first < final:
        raise InputError(
            f"--first-density {first:g} is below the final density {final:g}; the ramp goes down, "
            "so give a density above it"
        )
    if config.dense_gradient and rule is None:
        raise InputError(f"--dense-gradient does not apply to {config.method}: it masks nothing")
