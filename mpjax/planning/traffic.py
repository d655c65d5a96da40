"""How many bytes a compiled program moves through the main memory of each device."""

from __future__ import annotations

from mpjax.planning.hlo import Array, Computation, Instruction, Program
from mpjax.planning.loops import walk

# They name or group what others have made.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "while", "call",
    "conditional", "partition-id", "replica-id", "opt-barrier", "async-start", "domain",
}  # fmt: skip
_ALIASES = ("bitcast", "get-tuple-element")
_SLICES = ("slice", "dynamic-slice", "gather")


def hbm_bytes(program: Program) -> int:
    """Bytes that a run reads and writes: operands and results of every instruction, by loop turns.

    Of what is sliced only the slice counts, of what is updated in place only the update. Arrays
    that the compiler keeps in a faster memory on the chip do not count.
    """
    return sum(
        times * _bytes(program, computation, instruction)
        for computation, instruction, times, _ in walk(program)
    )


def _bytes(program: Program, computation: Computation, instruction: Instruction) -> int:
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith(("-done", "-update")):
        return 0
    operands = [computation.instructions[name] for name in instruction.operands]
    if opcode == "fusion":
        fused = program.computations[instruction.called()["calls"]]
        return _read_by(fused, operands) + _written_by(fused, instruction)
    result = instruction.arrays
    if opcode in ("copy-start", "collective-permute-start", "all-gather-start"):
        # (operand, result, semaphores) or, for a copy, (result, operand, semaphores)
        result = result[:1] if opcode == "copy-start" else result[1:2]
    if opcode in _SLICES:
        moved = _hbm(result)
        read = min(moved, _hbm(operands[0].arrays)) if operands else 0
        return moved + read + sum(_hbm(o.arrays) for o in operands[1:])
    if opcode == "dynamic-update-slice":
        return 2 * _hbm(operands[1].arrays) + sum(_hbm(o.arrays) for o in operands[2:])
    return _hbm(result) + sum(_hbm(operand.arrays) for operand in operands)


def _hbm(arrays: tuple[Array, ...]) -> int:
    return sum(array.bytes for array in arrays if array.in_hbm)


def _read_by(fused: Computation, operands: list[Instruction]) -> int:
    """What a fusion reads of its operands."""
    parameters = {int(i.literal): i for i in fused.instructions.values() if i.opcode == "parameter"}
    total = 0
    for index, operand in enumerate(operands):
        whole = _hbm(operand.arrays)
        if whole and index in parameters:
            whole = min(whole, _part_read(fused, parameters[index], whole))
        total += whole
    return total


def _part_read(fused: Computation, value: Instruction, whole: int) -> int:
    """How much of a value is read by those that slice it, or all of it."""
    total = 0
    for user in fused.users(value.name):
        first = bool(user.operands) and user.operands[0] == value.name
        if user.opcode in _ALIASES:
            total += _part_read(fused, user, whole)
        elif user.opcode in _SLICES and first and value.name not in user.operands[1:]:
            total += sum(array.bytes for array in user.arrays)
        elif not (user.opcode == "dynamic-update-slice" and first):
            return whole
    return total


def _written_by(fused: Computation, instruction: Instruction) -> int:
    """What a fusion writes: its results, or the updates of those that are updated in place."""
    root = fused.root
    made = (
        [fused.instructions[name] for name in root.operands] if root.opcode == "tuple" else [root]
    )
    if len(made) != len(instruction.arrays):
        return _hbm(instruction.arrays)
    total = 0
    for array, value in zip(instruction.arrays, made, strict=True):
        while value.opcode == "bitcast":
            value = fused.instructions[value.operands[0]]
        if value.opcode == "dynamic-update-slice":
            update = fused.instructions[value.operands[1]]
            total += sum(part.bytes for part in update.arrays) if array.in_hbm else 0
        else:
            total += _hbm((array,))
    return total
