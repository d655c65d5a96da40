"""Roofline of a step: the time of compute, memory and interconnect at peak rates."""

from __future__ import annotations

from dataclasses import dataclass

from mpjax.planning.chips import Chip


@dataclass(frozen=True)
class Roofline:
    """Seconds of compute, HBM and interconnect, each at its peak rate.

    The longest of the three is a lower bound of the step time: real steps reach no peak and overlap
    imperfectly. Collectives count as rings that use all links of a chip at once.
    """

    compute: float
    memory: float
    interconnect: float

    @property
    def seconds(self) -> float:
        """Lower bound of the step time."""
        return max(self.compute, self.memory, self.interconnect)

    @property
    def bound(self) -> str:
        """Name of the longest of the three."""
        return max(("compute", "memory", "interconnect"), key=lambda name: getattr(self, name))


def roofline(chip: Chip, flops: float, hbm_bytes: float, sent: float) -> Roofline:
    """Roofline of a step with `flops`, `hbm_bytes` and `sent` bytes per chip.

    >>> from mpjax.planning.chips import CHIPS
    >>> line = roofline(CHIPS["v5e"], flops=197e12, hbm_bytes=819e9 / 2, sent=0)
    >>> line.seconds, line.bound
    (1.0, 'compute')
    """
    return Roofline(flops / chip.flops, hbm_bytes / chip.hbm_rate, sent / chip.ici_rate)
