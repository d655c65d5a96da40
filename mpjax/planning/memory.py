"""Device memory of a compiled step, and options that reduce it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpjax.planning.chips import GIB

if TYPE_CHECKING:
    from mpjax.config.train import TrainConfig
    from mpjax.training.memory.estimate import StepMemory

# Messages of libtpu about a program that does not fit.
_TEMPORARIES = re.compile(r"HLO temporaries \(([\d.]+)([KMG])\) exceeds .*\(([\d.]+)([KMG])\)")
_USED = re.compile(r"Used ([\d.]+)([KMG]) of ([\d.]+)([KMG]) hbm")
_UNIT = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Memory:
    """Memory of one device that a step occupies, in bytes."""

    arguments: int  # state and batch
    outputs: int  # without the new state, which is written in place of the donated one
    temporaries: int
    code: int = 0

    @property
    def total(self) -> int:
        """Bytes of all four parts."""
        return self.arguments + self.outputs + self.temporaries + self.code


def read_memory(compiled: Any) -> Memory:
    """Memory of a compiled program."""
    stats = compiled.memory_analysis()
    return Memory(
        stats.argument_size_in_bytes,
        stats.output_size_in_bytes - stats.alias_size_in_bytes,
        stats.temp_size_in_bytes,
        stats.generated_code_size_in_bytes,
    )


def refused_memory(message: str, arguments: int) -> Memory | None:
    """Memory of a program that the compiler refuses because it does not fit, from its message.

    Args:
      message: of the compiler.
      arguments: bytes of the state and the batch.

    Returns:
      None for a message about anything else.

    >>> refused_memory("Used 20.00G of 15.75G hbm. Exceeded hbm capacity by 4.25G.", 2**30)
    Memory(arguments=1073741824, outputs=0, temporaries=20401094656, code=0)
    """
    found = _TEMPORARIES.search(message)
    if found:
        return Memory(arguments, 0, int(float(found[1]) * _UNIT[found[2]]))
    found = _USED.search(message)
    if found:
        used = int(float(found[1]) * _UNIT[found[2]])
        return Memory(arguments, 0, max(used - arguments, 0))
    return None


def advice(
    config: TrainConfig,
    memory: Memory,
    expected: StepMemory,
    hbm: float,
    parts: int,
    split: tuple[int, int],
) -> list[str]:
    """Options that would make a step fit, each with its arithmetic.

    Args:
      memory: of the step.
      expected: the same by arithmetic, which tells activations from other temporaries.
      hbm: bytes that a program can have on a device.
      parts: number of batch shards.
      split: bytes of the state on a device as configured, and with fsdp over all devices.

    >>> from mpjax.config.train import TrainConfig
    >>> from mpjax.training.memory.activations import Computed
    >>> from mpjax.training.memory.estimate import StepMemory
    >>> big = Memory(2 * GIB, 0, 20 * GIB)
    >>> parts = StepMemory(GIB, 0, GIB, 2 * GIB, 18 * GIB, GIB, 0, Computed(8, 128), summed=GIB)
    >>> print(*advice(TrainConfig(remat=True), big, parts, 16 * GIB, 4, (0, 0)), sep="\\n")
    --accumulate 2: 5 GiB + 18 GiB / 2 = 14 GiB, about
    --dtype bfloat16: activations take half the room, at best 4 GiB + 18 GiB / 2 = 13 GiB
    """
    found = []
    state = memory.arguments + memory.outputs + memory.code
    weights = min(expected.weights, memory.temporaries)  # masked, summed or gathered
    loose = memory.temporaries - weights
    if not config.remat:
        found.append("--remat: keeps the input of every layer and recomputes its activations")
    rows = config.batch_size // parts  # per device
    sums = expected.summed if config.accumulate == 1 else 0
    whole = loose * config.accumulate
    for many in range(config.accumulate + 1, rows + 1):
        least = max(state + weights + sums + whole / many, state + expected.gradients)
        if rows % many == 0 and least <= hbm:
            found.append(
                f"--accumulate {many}: {gib(state + weights + sums)} + {gib(whole)} / {many} = "
                f"{gib(state + weights + sums + whole / many)}, about"
            )
            break
    if config.dtype == "float32":
        found.append(
            f"--dtype bfloat16: activations take half the room, at best {gib(state + weights)} + "
            f"{gib(loose)} / 2 = {gib(state + weights + loose / 2)}"
        )
    now, spread = split
    if spread < now:
        found.append(f"--mesh fsdp over all devices: the state takes {gib(spread)}, not {gib(now)}")
    if not found:
        found.append("a larger slice, a smaller --batch-size or a smaller --max-length")
    return found


def gib(size: float) -> str:
    """Bytes as text, in GiB, or in MiB below 0.1 GiB.

    >>> gib(3 * 2**29), gib(5 * 2**20)
    ('1.5 GiB', '5 MiB')
    """
    if size and math.fabs(size) < GIB / 10:
        return f"{size / 2**20:.3g} MiB"
    return f"{size / GIB:.3g} GiB"
