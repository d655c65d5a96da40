"""Collectives of a compiled program: count and bytes sent by each device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mpjax.planning.hlo import Computation, HloModule, Instruction
from mpjax.planning.loops import walk

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] *\{([^}]*)\}")
_FUSED_SCATTER = "all-reduce-scatter"  # name of the fusion that a TPU runs as a reduce-scatter


@dataclass(frozen=True)
class Collectives:
    """Collectives of one kind in one execution of a program."""

    count: int
    sent: int  # bytes sent by each device, with ring algorithms
    certain: bool = True  # False for an upper bound: a loop may stop early, see `loops.walk`


def count_collectives(program: HloModule, devices: int) -> dict[str, Collectives]:
    """Count and bytes sent per kind, in the order of `KINDS`, without kinds that do not occur."""
    found: dict[str, Collectives] = {}
    for computation, instruction, times, certain in walk(program):
        for kind, sent in _moves(program, computation, instruction, devices):
            old = found.get(kind, Collectives(0, 0))
            found[kind] = Collectives(
                old.count + times, old.sent + times * sent, old.certain and certain
            )
    return {kind: found[kind] for kind in KINDS if kind in found}


def _moves(
    program: HloModule, computation: Computation, instruction: Instruction, devices: int
) -> Iterator[tuple[str, int]]:
    """Kind and bytes sent of a collective instruction, or of the collectives inside a fusion."""
    if instruction.opcode == "fusion":
        fused = program.computations[instruction.called()["calls"]]
        scattered = fused.name.startswith(_FUSED_SCATTER)
        for inner in fused.instructions.values():
            for kind, sent in _moves(program, fused, inner, devices):
                # A ring all-reduce is a reduce-scatter and an all-gather of the same bytes.
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
        yield kind, sent_bytes(kind, size, replica_group_size(instruction.rest, devices))


def sent_bytes(kind: str, size: int, group: int) -> int:
    """Bytes sent by each device of a group of g in a ring algorithm on ``size`` input bytes.

    all-gather: size·(g - 1); all-reduce: 2·size·(g - 1)/g; reduce-scatter and all-to-all:
    size·(g - 1)/g; collective-permute: size.

    >>> sent_bytes("all-gather", 100, 4), sent_bytes("all-reduce", 100, 4)
    (300, 150)
    """
    if kind == "collective-permute":
        return size
    if kind == "all-gather":
        return size * (group - 1)
    rounds = 2 if kind == "all-reduce" else 1
    return rounds * size * (group - 1) // group


def replica_group_size(attributes: str, devices: int) -> int:
    """Devices per replica group; all devices if the attributes list no groups.

    >>> replica_group_size("replica_groups={{0,1},{2,3}}", 4)
    2
    >>> replica_group_size("replica_groups=[2,8]<=[16]", 16)
    8
    >>> replica_group_size("replica_groups=mesh['a'=2,'b'=8] {'b'}", 16)
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
