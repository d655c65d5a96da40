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
      prune_every: updates between two changes of the masks.
      first_cut: t of the first change in the sparsity schedule, from which the others are counted;
        None = the first step.
      lr_cycle: cycle of the learning rate of the weights; None = no cycles.
    """

    total_steps: int
    warmup_steps: int
    prune_every: int = 1
    first_cut: int | None = None
    lr_cycle: int | None = None


def run_length(config: TrainConfig, steps_per_epoch: int) -> RunLength:
    """Steps of a config and of its parts.

    Raises:
      InputError: no step at all, or warm-ups that leave no room for the pruning ramp.

    >>> config = TrainConfig(epochs=2, warmup=0.1, method="magnitude", prune_every=0.2)
    >>> run_length(config, steps_per_epoch=50)
    RunLength(total_steps=100, warmup_steps=10, prune_every=18, first_cut=10, lr_cycle=None)
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
    ramp = config.initial_warmup * warmup, total - config.final_warmup * warmup
    every, first_cut = _cuts(config, total, *ramp)
    _check_last_cut(config, total, ramp[1], range(first_cut or 0, total, every))
    # One cycle for each cut: the two fractions are rounded alike.
    alike = config.lr_cycle == config.prune_every < 1 and config.method != DENSE
    cycle = every if alike else _steps(config.lr_cycle, total)
    return RunLength(total, warmup, every, first_cut, cycle)


def _cuts(config: TrainConfig, total: int, start: float, end: float) -> tuple[int, int | None]:
    """Steps between two cuts, and the first; None = multiples from the first step on.

    A fraction p of the run gives n = round(ramp/(p·total)) intervals of ⌈ramp/n⌉ steps from the
    start of the ramp on, so that the last cut is at the final density.
    """
    if config.prune_every >= 1 or config.method == DENSE:
        return max(1, int(config.prune_every)), None
    first = math.ceil(start)
    intervals = max(1, round((end - first) / (config.prune_every * total)))
    return max(1, math.ceil((end - first) / intervals)), first


def _steps(value: float | None, total: int) -> int | None:
    """Whole steps of an option in steps, or below 1 in fractions of the run; None for None."""
    if value is None or value >= 1:
        return None if value is None else int(value)
    return max(1, round(value * total))


def _check_last_cut(config: TrainConfig, total: int, end: float, cuts: range) -> None:
    """Raises `InputError` if held masks reach the final density after the last step only.

    Nothing would be trained with them then; in a run shorter than ``prune_every`` no score is ever
    set, and the masks would be those of equal scores.

    Args:
      end: step at which the ramp reaches the final density.
      cuts: steps at which the masks change.
    """
    if cuts.step > 1 and cuts[-1] < end:
        raise InputError(
            f"--prune-every {config.prune_every:g} does not fit: in a run of {total} steps the "
            f"last cut is at step {cuts[-1]}, before the ramp ends at step {end:g}. Lower "
            "--prune-every, raise --final-warmup, or train longer (--epochs, --steps)"
        )
