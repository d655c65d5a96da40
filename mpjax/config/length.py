"""Length of a run in optimizer steps, and its schedule fitted to that length."""

from __future__ import annotations

import dataclasses
import math

from mpjax.config.checks import DENSE
from mpjax.config.scores import IMPORTANCES
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

CUTS_IN_RAMP = 8  # fewer make jumps: the first of 8 cuts already takes a third of the way down


@dataclasses.dataclass(frozen=True)
class RunLength:
    """Total and warm-up steps of a run, and the steps between two cuts."""

    total_steps: int
    warmup_steps: int
    prune_every: int = 1


def run_length(config: TrainConfig, steps_per_epoch: int) -> RunLength:
    """Total and warm-up steps of a config, and the steps between its cuts.

    A warm-up given as a fraction and ``prune_every`` are lowered where the run is too short for
    them; `shortened` says so.

    Raises:
      InputError: no step at all, or warm-ups in steps that leave no room for the pruning ramp.

    >>> run_length(TrainConfig(epochs=2, warmup=0.1, method="magnitude"), steps_per_epoch=50)
    RunLength(total_steps=100, warmup_steps=10, prune_every=1)
    """
    total = config.steps or round(config.epochs * steps_per_epoch)
    if total < 1:
        raise InputError(f"--epochs {config.epochs:g} gives no training step; use more")
    warmup, multiple = _warmup(config, total), config.initial_warmup + config.final_warmup
    if warmup > total:
        raise InputError(f"--warmup {warmup} is longer than the run of {total} steps; lower it")
    if config.method != DENSE and multiple * warmup >= total:
        most = _longest_warmup(total, multiple)
        if config.warmup >= 1:
            raise InputError(
                f"the warm-ups do not fit: (--initial-warmup {config.initial_warmup:g} + "
                f"--final-warmup {config.final_warmup:g}) x {warmup} warm-up steps = "
                f"{multiple * warmup:g}, but the whole run has {total} steps. Lower --warmup to at "
                f"most {most} steps, lower --initial-warmup or --final-warmup, or train longer "
                "(--epochs, --steps)"
            )
        warmup = most
    start, end = config.initial_warmup * warmup, total - config.final_warmup * warmup
    return RunLength(total, warmup, _prune_every(config, total, start, end))


def shortened(config: TrainConfig, length: RunLength) -> list[str]:
    """Notes on the options that `run_length` lowered to fit, with both values.

    >>> config = TrainConfig(method="movement", score_optimizer="platon", prune_every=10, steps=47)
    >>> shortened(config, run_length(config, 1))
    ['--prune-every 10 is lowered to 4, to fit a run of 47 steps']
    """
    total = length.total_steps
    lowered = []
    asked = _warmup(config, total)
    if asked != length.warmup_steps:
        lowered.append(f"--warmup {config.warmup:g} ({asked} steps) is lowered to "
                       f"{length.warmup_steps} steps")  # fmt: skip
    if config.prune_every != length.prune_every:
        lowered.append(f"--prune-every {config.prune_every} is lowered to {length.prune_every}")
    return [f"{note}, to fit a run of {total} steps" for note in lowered]


def _warmup(config: TrainConfig, total: int) -> int:
    """Warm-up steps that the config asks for."""
    return int(config.warmup * total) if config.warmup < 1 else int(config.warmup)


def _longest_warmup(total: int, multiple: float) -> int:
    """Most warm-up steps of which `multiple` are fewer than the whole run."""
    return max(math.ceil(total / multiple) - 1, 0)


def _prune_every(config: TrainConfig, total: int, start: float, end: float) -> int:
    """Steps between two cuts: at most those asked for, and at least 1.

    With an interval above 1, `CUTS_IN_RAMP` cuts fall into the ramp, and the last one comes when
    the ramp has ended, so that weights are trained with the final masks. In a run shorter than the
    interval no score would be set, and the masks would be those of equal scores.

    Args:
      start, end: steps at which the ramp begins and reaches the final density.
    """
    if config.score_optimizer not in IMPORTANCES:
        return config.prune_every
    most = min(config.prune_every, int((end - start) / CUTS_IN_RAMP))
    fitting = (every for every in range(most, 1, -1) if (total - 1) // every * every >= end)
    return next(fitting, 1)
