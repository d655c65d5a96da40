"""Producers of values in a compiled program, traced through fusions, calls, copies and tuples."""

from __future__ import annotations

import re
from typing import NamedTuple

from mpjax.planning.hlo import Computation, HloModule, Instruction

_SAME = ("copy", "bitcast")
_OPENED = ("fusion", "call")
_INDEX = re.compile(r"index=(\d+)")


class Value(NamedTuple):
    """An instruction in the context of one call of its computation."""

    instruction: Instruction
    computation: Computation
    arguments: tuple[Value, ...] = ()  # of the call; empty if unknown

    @property
    def opcode(self) -> str:
        """Opcode of the instruction."""
        return self.instruction.opcode

    def operands(self) -> tuple[Value, ...]:
        """Values that the instruction reads."""
        found = (self.computation.instructions[name] for name in self.instruction.operands)
        return tuple(Value(each, self.computation, self.arguments) for each in found)

    def index(self) -> int:
        """Element index of a ``get-tuple-element``."""
        found = _INDEX.search(self.instruction.rest)
        assert found, self.instruction.name
        return int(found[1])

    def number(self) -> int | None:
        """Value of an integer constant, None for any other instruction."""
        whole = self.opcode == "constant" and re.fullmatch(r"-?\d+", self.instruction.literal)
        return int(self.instruction.literal) if whole else None


def in_context(program: HloModule, instruction: Instruction) -> Value:
    """Value of an instruction, with the arguments of its computation if that has one caller."""
    owner = next(
        c
        for c in program.computations.values()
        if c.instructions.get(instruction.name) is instruction
    )
    calls = [
        i
        for c in program.computations.values()
        for i in c.instructions.values()
        if i.opcode == "call" and i.called()["to_apply"] == owner.name
    ]
    if len(calls) != 1:
        return Value(instruction, owner)
    return Value(instruction, owner, in_context(program, calls[0]).operands())


def producer(program: HloModule, value: Value, same: tuple[str, ...] = _SAME) -> Value:
    """Instruction that computes a value: inside fusions and calls, before copies, out of tuples.

    >>> from mpjax.planning.hlo import parse_hlo
    >>> program = parse_hlo('''
    ... %inner (p: s32[]) -> s32[] {
    ...   %p = s32[] parameter(0)
    ...   ROOT %c = s32[] copy(%p)
    ... }
    ... ENTRY %main () -> s32[] {
    ...   %five = s32[] constant(5)
    ...   ROOT %f = s32[] fusion(%five), kind=kLoop, calls=%inner
    ... }''')
    >>> main = program.computations["main"]
    >>> producer(program, Value(main.root, main)).number()
    5
    """
    while True:
        if value.opcode == "parameter" and value.arguments:
            value = value.arguments[int(value.instruction.literal)]
        elif value.opcode in same:
            value = value.operands()[0]
        elif value.opcode in _OPENED:
            [called] = value.instruction.called().values()
            inner = program.computations[called]
            value = Value(inner.root, inner, value.operands())
        elif value.opcode == "get-tuple-element":
            whole = producer(program, value.operands()[0], same)
            if whole.opcode != "tuple":
                return value
            value = whole.operands()[value.index()]
        else:
            return value
