"""Length of a run in optimizer steps, and of its parts."""

from __future__ import annotations

import dataclasses
import math

from mpjax.config.checks import DENSE
from mpjax.config.scores import IMPORTANCES
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

CUTS_IN_RAMP = 8  # fewer make jumps: to 10% in 4 cuts, the first removes half of the weights


@dataclasses.dataclass(frozen=True)
class RunLength:
    """Lengths of a run and of its parts.

    Attributes:
      total_steps: updates. warmup_steps: warm-up of the learning rates.
      prune_every: updates between two changes of the masks.
      first_cut: t of the first change in the sparsity schedule, from which the others are counted;
        None = the first step.
      lr_cycle: cycle of the learning rate of the weights; None = no cycles.
      lr_start: update that begins the first cycle; None = the first of the pruning.
    """

    total_steps: int
    warmup_steps: int
    prune_every: int = 1
    first_cut: int | None = None
    lr_cycle: int | None = None
    lr_start: int | None = None


def run_length(config: TrainConfig, steps_per_epoch: int) -> RunLength:
    """Steps of a config and of its parts.

    A warm-up given as a fraction and ``prune_every`` are lowered where the run is too short for
    them; `shortened` says so.

    Raises:
      InputError: no step at all, or warm-ups in steps that leave no room for the pruning ramp.

    >>> config = TrainConfig(epochs=2, warmup=0.1, method="magnitude", prune_every=0.2)
    >>> length = run_length(config, steps_per_epoch=50)
    >>> length.total_steps, length.warmup_steps, length.prune_every, length.first_cut
    (100, 10, 18, 10)
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
    every, first_cut = _cuts(config, total, start, end)
    # One cycle for each cut: the two fractions are rounded alike.
    alike = config.lr_cycle == config.prune_every < 1 and config.method != DENSE and every > 1
    cycle = every if alike else _steps(config.lr_cycle, total)
    begin = _steps(config.lr_start, total)
    if begin is not None and begin >= total:
        raise InputError(f"--lr-start {begin} is no step of a run of {total}; lower it")
    return RunLength(total, warmup, every, first_cut, cycle, begin)


def shortened(config: TrainConfig, length: RunLength) -> list[str]:
    """Notes on the options that `run_length` lowered to fit, with both values.

    >>> config = TrainConfig(method="movement", score_optimizer="platon", prune_every=10, steps=47)
    >>> shortened(config, run_length(config, 1))
    ['--prune-every 10 is lowered to 4, to fit a run of 47 steps']
    """
    total = length.total_steps
    lowered: list[str] = []
    asked = _warmup(config, total)
    if asked != length.warmup_steps:
        lowered.append(
            f"--warmup {config.warmup:g} ({asked} steps) is lowered to {length.warmup_steps} "
            f"steps, to fit a run of {total} steps"
        )
    asked = config.prune_every if config.prune_every >= 1 else round(config.prune_every * total)
    rounded = config.prune_every < 1 < length.prune_every  # not lowered
    if config.method != DENSE and length.prune_every < asked and not rounded:
        flat = config.final_warmup * length.warmup_steps >= 1
        lowered.append(
            f"--prune-every {config.prune_every:g} is lowered to {length.prune_every}, to fit a "
            f"run of {total} steps" + ("" if flat else " whose ramp goes on to its end")
        )
    return lowered


def _warmup(config: TrainConfig, total: int) -> int:
    """Warm-up steps that the config asks for."""
    return int(config.warmup * total) if config.warmup < 1 else int(config.warmup)


def _longest_warmup(total: int, multiple: float) -> int:
    """Most warm-up steps of which `multiple` are fewer than the whole run."""
    return max(math.ceil(total / multiple) - 1, 0)


def _cuts(config: TrainConfig, total: int, start: float, end: float) -> tuple[int, int | None]:
    """Steps between two cuts, and the first cut; None = multiples from the first step on.

    The last cut comes when the ramp has ended, so that weights are trained with the final masks.
    A fraction p of the run gives n = round(ramp/(p·total)) intervals of ⌈ramp/n⌉ steps from the
    start of the ramp on. An interval in steps is lowered until that holds, and for a running
    importance until `CUTS_IN_RAMP` cuts fall into the ramp: before the first cut it has no scores.

    Args:
      start, end: steps at which the ramp begins and reaches the final density.
    """
    if config.method == DENSE:
        return 1, None
    if config.prune_every < 1:
        first = math.ceil(start)
        if end > total - 1:  # masks held to the end of the run would not be the final ones
            return 1, first
        intervals = max(1, round((end - first) / (config.prune_every * total)))
        every = max(1, math.ceil((end - first) / intervals))
        while every > 1 and range(first, total, every)[-1] < end:  # a ramp of few steps
            every -= 1
        return every, first
    most = int(config.prune_every)
    if config.score_optimizer in IMPORTANCES:
        most = min(most, int((end - start) / CUTS_IN_RAMP))
    fitting = (every for every in range(most, 1, -1) if (total - 1) // every * every >= end)
    return next(fitting, 1), None


def _steps(value: float | None, total: int) -> int | None:
    """Whole steps of an option in steps, or below 1 in fractions of the run; None for None."""
    if value is None or value >= 1:
        return None if value is None else int(value)
    return max(1, round(value * total))
