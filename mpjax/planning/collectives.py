"""What devices send to each other in a run of a compiled program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mpjax.planning.hlo import Computation, Instruction, Program
from mpjax.planning.loops import walk

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] *\{([^}]*)\}")
_FUSED_SCATTER = "all-reduce-scatter"  # how TPU programs name the fusion that is a reduce-scatter


@dataclass(frozen=True)
class Traffic:
    """The collectives of one kind.

    Attributes:
      count: how many run. sent: bytes that each device sends, if they go around a ring.
      certain: False where some are in a loop that may stop early, see `loops.walk`.
    """

    count: int
    sent: int
    certain: bool = True


def collectives(program: Program, devices: int) -> dict[str, Traffic]:
    """Count and bytes by kind, in the order of `KINDS`; only the kinds that there are."""
    found: dict[str, Traffic] = {}
    for computation, instruction, times, certain in walk(program):
        for kind, sent in _moves(program, computation, instruction, devices):
            old = found.get(kind, Traffic(0, 0))
            found[kind] = Traffic(
                old.count + times, old.sent + times * sent, old.certain and certain
            )
    return {kind: found[kind] for kind in KINDS if kind in found}


def _moves(
    program: Program, computation: Computation, instruction: Instruction, devices: int
) -> Iterator[tuple[str, int]]:
    """The collectives that an instruction is or, as a fusion, holds."""
    if instruction.opcode == "fusion":
        fused = program.computations[instruction.called()["calls"]]
        scattered = fused.name.startswith(_FUSED_SCATTER)
        for inner in fused.instructions.values():
            for kind, sent in _moves(program, fused, inner, devices):
                if scattered and kind == "all-reduce":
                    yield "reduce-scatter", sent // 2
                else:
                    yield kind, sent
        return
    kind = instruction.opcode.removesuffix("-start")
    if kind in KINDS:
        size = sum(
            array.bytes
            for name in instruction.operands
            for array in computation.instructions[name].arrays
        )
        yield kind, sent_bytes(kind, size, group_size(instruction.rest, devices))


def sent_bytes(kind: str, size: int, group: int) -> int:
    """Bytes that each device of a group sends, on a ring, of ``size`` bytes that it holds before.

    >>> sent_bytes("all-gather", 100, 4), sent_bytes("all-reduce", 100, 4)
    (300, 150)
    """
    if kind == "collective-permute":
        return size
    if kind == "all-gather":
        return size * (group - 1)
    rounds = 2 if kind == "all-reduce" else 1
    return rounds * size * (group - 1) // group


def group_size(attributes: str, devices: int) -> int:
    """How many devices take part together, all of them where no groups are named.

    >>> group_size("replica_groups={{0,1},{2,3}}", 4), group_size("replica_groups=[2,8]<=[16]", 16)
    (2, 8)
    >>> group_size("replica_groups=mesh['a'=2,'b'=8] {'b'}", 16)
    8
    """
    listed = _LISTED.search(attributes)
    if listed:
        return len(listed[1].split(","))
    counted = _COUNTED.search(attributes)
    if counted:
        return int(counted[1].split(",")[-1])
    named = _NAMED.search(attributes)
    if named:
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        group = 1
        for name in re.findall(r"'(\w+)'", named[2]):
            group *= sizes[name]
        return group
    return devices
