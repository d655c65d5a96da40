"""How many bytes a compiled program moves through the main memory of each device."""

from __future__ import annotations

import re

from mpjax.planning.hlo import Array, Computation, Instruction, Program
from mpjax.planning.loops import walk
from mpjax.planning.values import Value, behind

# They name or group what others have made.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "while", "call",
    "conditional", "partition-id", "replica-id", "opt-barrier", "async-start", "domain",
}  # fmt: skip
_PLACES = re.compile(r'custom_call_target="(AllocateBuffer|ConcatBitcast)"')  # of a TPU program
_SLICES = ("slice", "dynamic-slice", "gather")
_ALIASES = ("bitcast", "copy")  # inside a fusion


def hbm_bytes(program: Program) -> int:
    """Bytes that a run reads and writes: operands and results of every instruction, by loop turns.

    Of what is sliced only the slice counts, of what is updated in place only the update, also
    where a fusion does so. Arrays that the compiler keeps in a faster memory on the chip do not
    count.
    """
    return sum(
        times * _bytes(program, computation, instruction)
        for computation, instruction, times, _ in walk(program)
    )


def _bytes(program: Program, computation: Computation, instruction: Instruction) -> int:
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith(("-done", "-update")) or _PLACES.search(instruction.rest):
        return 0
    operands = [computation.instructions[name] for name in instruction.operands]
    if opcode == "fusion":
        fused = program.computations[instruction.called()["calls"]]
        return _read_by(program, fused, operands) + _written_by(program, fused, instruction)
    made = _made(instruction, operands)
    if opcode.removesuffix("-start") in _SLICES:
        first, others = operands[0], operands[1:]
        read = min(_size(made), _hbm(first.arrays))
        return read + _hbm(made) + sum(_hbm(o.arrays) for o in others)
    if opcode == "dynamic-update-slice":
        written = min(_size(operands[1].arrays), _hbm(made))
        return written + sum(_hbm(o.arrays) for o in operands[1:])
    return _hbm(made) + sum(_hbm(operand.arrays) for operand in operands)


def _made(instruction: Instruction, operands: list[Instruction]) -> tuple[Array, ...]:
    """What an instruction writes; one that only starts also lists its operands and semaphores."""
    result, opcode = instruction.arrays, instruction.opcode
    if not opcode.endswith("-start") or opcode == "all-reduce-start":
        return result
    taken = sum(len(operand.arrays) for operand in operands)
    if opcode == "copy-start":  # which lists the result first
        return result[:taken]
    return result[taken : taken + (1 if opcode.removesuffix("-start") in _SLICES else taken)]


def _size(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays)


def _hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if array.in_hbm)


def _read_by(program: Program, fused: Computation, operands: list[Instruction]) -> int:
    """What a fusion reads of its operands."""
    total = 0
    for index, operand in enumerate(operands):
        whole = _hbm(operand.arrays)
        if whole:
            total += min(whole, _part_read(program, fused, fused.parameter(index), whole))
    return total


def _part_read(program: Program, fused: Computation, value: Instruction, whole: int) -> int:
    """How much of a value is read by those that slice it, or all of it."""
    if value.root:
        return whole
    total = 0
    for user in fused.users(value.name):
        if user.opcode in _ALIASES:
            total += _part_read(program, fused, user, whole)
        elif user.opcode == "fusion":
            inner = program.computations[user.called()["calls"]]
            for index, name in enumerate(user.operands):
                if name != value.name:
                    continue
                own = inner.parameter(index)
                place = (fused, user) if _hands_on(inner, own) else (inner, own)
                total += _part_read(program, *place, whole)
        elif user.opcode in _SLICES and value.name not in user.operands[1:]:
            total += _size(user.arrays)
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != value.name:
            return whole
    return total


def _hands_on(fused: Computation, parameter: Instruction) -> bool:
    """Whether a fusion inside another only gives a value another shape or layout."""
    value = fused.root
    while value.opcode in _ALIASES:
        value = fused.instructions[value.operands[0]]
    return value is parameter


def _written_by(program: Program, fused: Computation, instruction: Instruction) -> int:
    """What a fusion writes: its results, or the updates of those that are updated in place."""
    root = Value(fused.root, fused)
    made = root.operands() if root.opcode == "tuple" else (root,)
    if len(made) != len(instruction.arrays):
        return _hbm(instruction.arrays)
    total = 0
    for array, value in zip(instruction.arrays, made, strict=True):
        source = behind(program, value, same=("bitcast",))
        if source.opcode == "dynamic-update-slice" and array.in_hbm:
            total += _size(source.operands()[1].instruction.arrays)
        else:
            total += _hbm((array,))
    return total
