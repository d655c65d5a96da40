"""How often each instruction of a compiled program runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from mpjax.planning.hlo import Computation, Instruction, Program

_KNOWN_TRIPS = re.compile(r'known_trip_count"?\s*:?\s*[={]\s*"?n"?\s*[:=]\s*"?(\d+)')
_DIRECTION = re.compile(r"direction=(\w+)")


class Turns(NamedTuple):
    """How often a loop turns; at most so often where not ``exact``: it may stop early."""

    count: int
    exact: bool


def turns(program: Program, loop: Instruction) -> Turns | None:
    """How often the body of a ``while`` runs, None where the text sets no bound.

    Either the compiler has noted it, or the condition compares a counter with a constant, alone or
    ``and`` something else. The counter starts from a constant and every turn adds one to it.
    """
    known = _KNOWN_TRIPS.search(loop.rest)
    if known:
        return Turns(int(known[1]), True)
    called = loop.called()
    condition = program.computations[called["condition"]]
    body = program.computations[called["body"]]
    root = condition.root
    names = root.operands if root.opcode == "and" else (root.name,)
    counts = [_bound(program, loop, body, condition, condition.instructions[n]) for n in names]
    found = [count for count in counts if count is not None]
    return Turns(min(found), root.opcode != "and") if found else None


def _bound(
    program: Program,
    loop: Instruction,
    body: Computation,
    condition: Computation,
    compare: Instruction,
) -> int | None:
    """How many turns pass until a comparison fails."""
    direction = _DIRECTION.search(compare.rest)
    if compare.opcode != "compare" or not direction or direction[1] not in ("LT", "GT"):
        return None
    counter, limit = (condition.instructions[name] for name in compare.operands)
    if counter.opcode != "get-tuple-element" or limit.opcode != "constant":
        return None
    index = _index(counter)
    stride, start = _stride(body, index), _start(program, loop, index)
    if stride is None or start is None or (stride > 0) != (direction[1] == "LT"):
        return None
    return max(0, math.ceil((int(limit.literal) - start) / stride))


def _index(element: Instruction) -> int:
    found = re.search(r"index=(\d+)", element.rest)
    assert found, element.name
    return int(found[1])


def _stride(body: Computation, index: int) -> int | None:
    """What a turn adds to a counter, None for nothing or something that is no constant."""
    if body.root.opcode != "tuple":
        return None
    added, total = body.instructions[body.root.operands[index]], 0
    span = 2 ** (8 * sum(array.bytes for array in added.arrays))
    while added.opcode in ("add", "copy"):  # one after another in a body that is unrolled
        parts = [body.instructions[name] for name in added.operands]
        steps = [part for part in parts if part.opcode == "constant"]
        total += sum(int(step.literal) for step in steps)
        others = [part for part in parts if part.opcode != "constant"]
        if len(others) != 1:
            return None
        added = others[0]
    if added.opcode != "get-tuple-element" or _index(added) != index:
        return None
    total %= span  # minus one is the largest number of an unsigned counter
    return (total if total < span // 2 else total - span) or None


def _start(program: Program, loop: Instruction, index: int) -> int | None:
    """The constant that a counter starts from."""
    owner = next(c for c in program.computations.values() if c.instructions.get(loop.name) is loop)
    first = owner.instructions.get(loop.operands[0])
    if first is None or first.opcode != "tuple":
        return None
    value = owner.instructions[first.operands[index]]
    while value.opcode in ("copy", "bitcast"):
        value = owner.instructions[value.operands[0]]
    return int(value.literal) if value.opcode == "constant" else None


def walk(program: Program) -> Iterator[tuple[Computation, Instruction, int, bool]]:
    """Every instruction that runs, with its computation, how often, and whether that is certain.

    Instructions inside fusions are not run one by one and are left out; of a conditional every
    branch is counted. What is in a loop that may stop early counts with all its turns, what is in
    one without a bound counts once, and both are uncertain.
    """
    yield from _walk(program, program.entry, 1, True)


def _walk(program: Program, name: str, times: int, certain: bool):
    computation = program.computations[name]
    for instruction in computation.instructions.values():
        yield computation, instruction, times, certain
        called = instruction.called()
        if instruction.opcode == "while":
            count, exact = turns(program, instruction) or Turns(1, False)
            yield from _walk(program, called["body"], times * count, certain and exact)
        elif instruction.opcode in ("call", "conditional", "async-start"):
            for part, callee in called.items():
                if part == "calls" or part == "to_apply" or part.startswith("branch"):
                    yield from _walk(program, callee, times, certain)
