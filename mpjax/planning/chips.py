"""What one chip of each TPU generation has, as Google publishes it.

Source: the pages of the generations in the Cloud TPU documentation (docs.cloud.google.com/tpu/docs:
v4, v5e, v5p, v6e). The pages count a link in both directions; here it is what a chip can send. That
of v4 is from its paper (arXiv 2304.01433): six links of 50 GB/s. Where they say GB of memory, GiB
is meant: the compiler finds 15.75 GiB free of the 16 GB of a v5e.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """Peak rates of a chip.

    Attributes:
      flops: bfloat16 FLOP/s. hbm_bytes, hbm_rate: memory in bytes and in bytes/s.
      ici_rate: bytes/s that it sends to its neighbours over all its links together.
      dimensions: of the torus its slices are cut from.
      config: libtpu's name for one device per chip where that is not the default.
    """

    name: str
    flops: float
    hbm_bytes: float
    hbm_rate: float
    ici_rate: float
    dimensions: int
    config: str | None = None

    def describe(self) -> str:
        """The chip in a line.

        >>> CHIPS["v5e"].describe()
        'v5e: 197 TFLOP/s bfloat16, 16 GiB HBM at 819 GB/s, sends 200 GB/s'
        """
        return (
            f"{self.name}: {self.flops / 1e12:.0f} TFLOP/s bfloat16, "
            f"{self.hbm_bytes / GIB:.0f} GiB HBM at {self.hbm_rate / 1e9:.0f} GB/s, "
            f"sends {self.ici_rate / 1e9:.0f} GB/s"
        )


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 32 * GIB, 1200e9, 300e9, 3, config="megacore"),
        Chip("v5e", 197e12, 16 * GIB, 819e9, 200e9, 2),
        Chip("v5p", 459e12, 95 * GIB, 2765e9, 600e9, 3),
        Chip("v6e", 918e12, 32 * GIB, 1638e9, 400e9, 2),
    )
}
