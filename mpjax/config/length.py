"""Length of a run in optimizer steps."""

from __future__ import annotations

import dataclasses
import math

from mpjax.config.checks import DENSE
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class RunLength:
    """Lengths of a run and of its parts.

    Attributes:
      total_steps: updates. warmup_steps: warm-up of the learning rates.
      lr_cycle: cycle of the learning rate of the weights; None = no cycles.
    """

    total_steps: int
    warmup_steps: int
    lr_cycle: int | None = None


def run_length(config: TrainConfig, steps_per_epoch: int) -> RunLength:
    """Steps of a config and of its parts.

    Raises:
      InputError: no step at all, or warm-ups that leave no room for the pruning ramp.

    >>> run_length(TrainConfig(epochs=2, warmup=0.1, method="magnitude"), steps_per_epoch=50)
    RunLength(total_steps=100, warmup_steps=10, lr_cycle=None)
    """
    total = config.steps or round(config.epochs * steps_per_epoch)
    if total < 1:
        raise InputError(f"--epochs {config.epochs:g} gives no training step; use more")
    warmup = int(config.warmup * total) if config.warmup < 1 else int(config.warmup)
    if warmup > total:
        raise InputError(f"--warmup {warmup} is longer than the run of {total} steps; lower it")
    multiple = config.initial_warmup + config.final_warmup
    if config.method != DENSE and multiple * warmup >= total:
        raise InputError(
            f"the warm-ups do not fit: (--initial-warmup {config.initial_warmup:g} + "
            f"--final-warmup {config.final_warmup:g}) x {warmup} warm-up steps = "
            f"{multiple * warmup:g}, but the whole run has {total} steps. Lower --warmup to at "
            f"most {max(math.ceil(total / multiple) - 1, 0)} steps, lower --initial-warmup or "
            "--final-warmup, or train longer (--epochs, --steps)"
        )
    _check_last_cut(config, total, total - config.final_warmup * warmup)
    return RunLength(total, warmup, _steps(config.lr_cycle, total))


def _steps(value: float | None, total: int) -> int | None:
    """Whole steps of an option in steps, or below 1 in fractions of the run; None for None."""
    if value is None or value >= 1:
        return None if value is None else int(value)
    return max(1, round(value * total))


def _check_last_cut(config: TrainConfig, total: int, end: float) -> None:
    """Raises `InputError` if held masks reach the final density after the last step only.

    Nothing would be trained with them then; in a run shorter than ``prune_every`` no score is ever
    set, and the masks would be those of equal scores.

    Args:
      end: step at which the ramp reaches the final density.
    """
    every = config.prune_every
    last = (total - 1) // every * every
    if every > 1 and last < end:
        raise InputError(
            f"--prune-every {every} does not fit: in a run of {total} steps the last cut is at "
            f"step {last}, before the ramp ends at step {end:g}. Lower --prune-every, raise "
            "--final-warmup, or train longer (--epochs, --steps)"
        )
