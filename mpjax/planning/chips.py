"""Published peak rates and memory of one chip of each TPU generation.

Source: the Cloud TPU documentation (docs.cloud.google.com/tpu/docs: v4, v5e, v5p, v6e). It gives
interconnect bandwidth for both directions together; `Chip.ici_rate` is for sending alone. The rate
of v4 is from its paper (arXiv 2304.01433): six links of 50 GB/s. Memory that the documentation
gives in GB is in GiB. A program can have what libtpu (0.0.52) says when it refuses one.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """Peak rates and memory of one chip."""

    name: str
    flops: float  # bfloat16 FLOP/s
    hbm_bytes: float
    free_bytes: float  # for a program
    hbm_rate: float  # bytes/s
    ici_rate: float  # bytes/s sent over all links together
    dimensions: int  # axes of the torus that slices are cut from
    config: str | None = None  # libtpu's name of one device per chip, None if it is the default

    def describe(self) -> str:
        """Name, peak rates and memory in one line.

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
        Chip("v4", 275e12, 32 * GIB, 30.75 * GIB, 1200e9, 300e9, 3, config="megacore"),
        Chip("v5e", 197e12, 16 * GIB, 15.75 * GIB, 819e9, 200e9, 2),
        Chip("v5p", 459e12, 95 * GIB, 95.73 * GIB, 2765e9, 600e9, 3),
        Chip("v6e", 918e12, 32 * GIB, 31.24 * GIB, 1638e9, 400e9, 2),
    )
}
