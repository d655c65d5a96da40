"""Watch over every step: finds what is not finite, as the device goes on.

`skip_not_finite` keeps such an update out of the state. So the state of a run is finite at every
step, and what is left to decide on the host is whether the run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mpjax.errors import InputError
from mpjax.log import log


class Diverged(InputError):
    """Loss or gradients of a step are not finite, and no more may be skipped."""


def find_term(metrics: Mapping[str, Any]) -> str | None:
    """Term of a step that is not finite, and its value; None if all are finite.

    >>> find_term({"task_loss": 0.7, "grad_norm": float("nan")}), find_term({"task_loss": 0.7})
    ('the gradient norm is nan', None)
    """
    for key, name in (("task_loss", "loss"), ("grad_norm", "gradient norm")):
        if not math.isfinite(value := float(metrics.get(key, 0))):
            return f"the {name} is {value}"
    return None


def watch_finite(most_skipped: int) -> Callable[[int, Mapping[str, Any]], None]:
    """Function of step and metrics that raises `Diverged` when too many updates were skipped.

    Args:
      most_skipped: updates that may be skipped in a run; each is said in a warning.
    """

    def see(step: int, metrics: Mapping[str, Any]) -> None:
        if (term := find_term(metrics)) is None:
            return
        skipped = int(metrics.get("skipped", 0))
        if 0 < skipped <= most_skipped:
            log.warning(
                "%s at step %d: its update is skipped (%d of at most %d)",
                term, step, skipped, most_skipped,
            )  # fmt: skip
            return
        after = f" after {skipped - 1} skipped updates" if skipped > 1 else ""
        raise Diverged(
            f"{term} at step {step}{after}: training diverged. Lower --learning-rate or "
            "--score-learning-rate, where scores have one, or give --clip below 1"
        )

    return see
