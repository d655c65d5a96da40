"""Bytes that a compiled program reads from and writes to the HBM of each device."""

from __future__ import annotations

import re

from mpjax.planning.hlo import Array, Computation, HloModule, Instruction
from mpjax.planning.loops import walk
from mpjax.planning.values import Value, producer

# Instructions that name or group results of others and move no bytes.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "while", "call",
    "conditional", "partition-id", "replica-id", "opt-barrier", "async-start", "domain",
}  # fmt: skip
# Custom calls of TPU programs that reserve or rename a buffer.
_PLACES = re.compile(r'custom_call_target="(AllocateBuffer|ConcatBitcast)"')
_SLICES = ("slice", "dynamic-slice", "gather")
_ALIASES = ("bitcast", "copy")  # inside a fusion


def hbm_bytes(program: HloModule) -> int:
    """Bytes read and written in one execution: operands and results of every instruction.

    Instructions in loops count once per iteration. A slice counts with the bytes of the slice, an
    update in place with the bytes of the update, inside fusions too. Arrays in a faster memory on
    the chip count nothing.
    """
    return sum(
        times * _bytes(program, computation, instruction)
        for computation, instruction, times, _ in walk(program)
    )


def _bytes(program: HloModule, computation: Computation, instruction: Instruction) -> int:
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith(("-done", "-update")) or _PLACES.search(instruction.rest):
        return 0
    operands = [computation.instructions[name] for name in instruction.operands]
    if opcode == "fusion":
        fused = program.computations[instruction.called()["calls"]]
        return _read_by(program, fused, operands) + _written_by(program, fused, instruction)
    made = _results(instruction, operands)
    if opcode.removesuffix("-start") in _SLICES:
        first, others = operands[0], operands[1:]
        read = min(_size(made), _hbm(first.arrays))
        return read + _hbm(made) + sum(_hbm(o.arrays) for o in others)
    if opcode == "dynamic-update-slice":
        written = min(_size(operands[1].arrays), _hbm(made))
        return written + sum(_hbm(o.arrays) for o in operands[1:])
    return _hbm(made) + sum(_hbm(operand.arrays) for operand in operands)


def _results(instruction: Instruction, operands: list[Instruction]) -> tuple[Array, ...]:
    """Arrays that an instruction writes; a ``-start`` lists operands and semaphores beside them."""
    result, opcode = instruction.arrays, instruction.opcode
    if not opcode.endswith("-start") or opcode == "all-reduce-start":
        return result
    taken = sum(len(operand.arrays) for operand in operands)
    if opcode == "copy-start":  # its shape lists the result first
        return result[:taken]
    return result[taken : taken + (1 if opcode.removesuffix("-start") in _SLICES else taken)]


def _size(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays)


def _hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if array.in_hbm)


def _read_by(program: HloModule, fused: Computation, operands: list[Instruction]) -> int:
    """Bytes of its operands that a fusion reads."""
    total = 0
    for index, operand in enumerate(operands):
        whole = _hbm(operand.arrays)
        if whole:
            total += min(whole, _part_read(program, fused, fused.parameter(index), whole))
    return total


def _part_read(program: HloModule, fused: Computation, value: Instruction, whole: int) -> int:
    """Bytes of a value that its users read: their slices, or `whole` if any user reads all."""
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
                place = (fused, user) if _only_reshapes(inner, own) else (inner, own)
                total += _part_read(program, *place, whole)
        elif user.opcode in _SLICES and value.name not in user.operands[1:]:
            total += _size(user.arrays)
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != value.name:
            return whole
    return total


def _only_reshapes(fused: Computation, parameter: Instruction) -> bool:
    """Whether a nested fusion returns its parameter with no change but shape or layout."""
    value = fused.root
    while value.opcode in _ALIASES:
        value = fused.instructions[value.operands[0]]
    return value is parameter


def _written_by(program: HloModule, fused: Computation, instruction: Instruction) -> int:
    """Bytes that a fusion writes: its results, or the updates of results updated in place."""
    root = Value(fused.root, fused)
    made = root.operands() if root.opcode == "tuple" else (root,)
    if len(made) != len(instruction.arrays):
        return _hbm(instruction.arrays)
    total = 0
    for array, value in zip(instruction.arrays, made, strict=True):
        source = producer(program, value, same=("bitcast",))
        if source.opcode == "dynamic-update-slice" and array.in_hbm:
            total += _size(source.operands()[1].instruction.arrays)
        else:
            total += _hbm((array,))
    return total
