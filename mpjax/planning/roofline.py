"""The least time that a step can take, by what each chip can do in a second."""

from __future__ import annotations

from dataclasses import dataclass

from mpjax.planning.chips import Chip


@dataclass(frozen=True)
class Roofline:
    """Seconds that compute, main memory and interconnect are busy, each at its peak rate.

    The step takes at least the longest of them: nothing is said of how well they overlap, and a
    chip reaches no peak. A ring is taken to use all links of a chip at once.
    """

    compute: float
    memory: float
    interconnect: float

    @property
    def seconds(self) -> float:
        """The estimate of the step."""
        return max(self.compute, self.memory, self.interconnect)

    @property
    def bound(self) -> str:
        """What the step waits for."""
        return max(("compute", "memory", "interconnect"), key=lambda name: getattr(self, name))


def roofline(chip: Chip, flops: float, hbm_bytes: float, sent: float) -> Roofline:
    """The roofline of a chip that computes, moves and sends so much in a step.

    >>> from mpjax.planning.chips import CHIPS
    >>> line = roofline(CHIPS["v5e"], flops=197e12, hbm_bytes=819e9 / 2, sent=0)
    >>> line.seconds, line.bound
    (1.0, 'compute')
    """
    return Roofline(flops / chip.flops, hbm_bytes / chip.hbm_rate, sent / chip.ici_rate)
