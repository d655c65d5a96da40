"""How often each instruction of a compiled program runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mpjax.planning.hlo import Computation, Instruction, Program
from mpjax.planning.values import Value, behind, standing

_KNOWN_TRIPS = re.compile(r'known_trip_count"?\s*:?\s*[={]\s*"?n"?\s*[:=]\s*"?(\d+)')
_DIRECTION = re.compile(r"direction=(\w+)")
_TURNED = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE", "NE": "NE"}  # operands exchanged


class Turns(NamedTuple):
    """How often a loop turns; at most so often where not ``exact``: it may stop early."""

    count: int
    exact: bool


def turns(program: Program, loop: Instruction) -> Turns | None:
    """How often the body of a ``while`` runs, None where the text sets no bound.

    Either the compiler has noted it, or the condition compares a counter with a constant, alone or
    ``and`` something else. The counter starts from a constant and every turn adds one to it.
    All of that may be in fusions.
    """
    known = _KNOWN_TRIPS.search(loop.rest)
    if known:
        return Turns(int(known[1]), True)
    condition = program.computations[loop.called()["condition"]]
    terms = _terms(program, Value(condition.root, condition))
    found = [bound for term in terms if (bound := _bound(program, loop, term)) is not None]
    return Turns(min(found), len(found) == len(terms)) if found else None


def _terms(program: Program, condition: Value) -> list[Value]:
    """What must all be true."""
    seen = behind(program, condition)
    if seen.opcode != "and":
        return [seen]
    return [term for part in seen.operands() for term in _terms(program, part)]


def _bound(program: Program, loop: Instruction, compare: Value) -> int | None:
    """How many turns pass until a comparison of a counter with a constant fails."""
    direction = _DIRECTION.search(compare.instruction.rest)
    if compare.opcode != "compare" or not direction or direction[1] not in _TURNED:
        return None
    way = direction[1]
    counter, limit = (behind(program, operand) for operand in compare.operands())
    if counter.opcode == "constant":
        counter, limit, way = limit, counter, _TURNED[way]
    last, index = limit.number(), _carried(program, counter)
    if last is None or index is None:
        return None
    step, start = _stride(program, loop, index), _start(program, loop, index)
    if step is None or start is None:
        return None
    return _count(last - start, step, way)


def _carried(program: Program, value: Value) -> int | None:
    """Which part of a loop's state a value is, in its body or condition."""
    if value.opcode != "get-tuple-element":
        return None
    whole = behind(program, value.operands()[0])
    return value.index() if whole.opcode == "parameter" else None


def _count(gap: int, step: int, way: str) -> int | None:
    """Turns until steps have closed a gap, None if they never do.

    >>> _count(5, 2, "LT"), _count(6, 2, "LT"), _count(6, 2, "LE"), _count(-6, -1, "NE")
    (3, 3, 4, 6)
    """
    if way in ("GT", "GE") or (way == "NE" and step < 0):
        gap, step = -gap, -step
    if step <= 0 or (way == "NE" and (gap < 0 or gap % step)):
        return None
    return max(0, gap // step + 1 if way in ("LE", "GE") else -(-gap // step))


def _stride(program: Program, loop: Instruction, index: int) -> int | None:
    """What a turn adds to a counter, None for something that is no constant."""
    body = program.computations[loop.called()["body"]]
    root = behind(program, Value(body.root, body))
    if root.opcode != "tuple":
        return None
    added, total = behind(program, root.operands()[index]), 0
    bits = 8 * sum(array.bytes for array in added.instruction.arrays)
    while added.opcode in ("add", "subtract"):  # one after another in a body that is unrolled
        first, second = (behind(program, operand) for operand in added.operands())
        if added.opcode == "add" and second.number() is None:
            first, second = second, first
        step = second.number()
        if step is None:
            return None
        total += step if added.opcode == "add" else -step
        added = first
    if _carried(program, added) != index:
        return None
    total %= 2**bits  # minus one is the largest number of an unsigned counter
    return total if total < 2 ** (bits - 1) else total - 2**bits


def _start(program: Program, loop: Instruction, index: int) -> int | None:
    """The constant that a counter starts from."""
    first = behind(program, standing(program, loop).operands()[0])
    if first.opcode != "tuple":
        return None
    return behind(program, first.operands()[index]).number()


def walk(program: Program) -> Iterator[tuple[Computation, Instruction, int, bool]]:
    """Every instruction that runs, with its computation, how often, and whether that is certain.

    Instructions inside fusions are not run one by one and are left out. What is in a loop that may
    stop early counts with all its turns, what is in one without a bound counts once, and of a
    conditional every branch counts; all of these are uncertain.
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
        elif instruction.opcode == "conditional":
            for callee in called.values():
                yield from _walk(program, callee, times, False)
        elif instruction.opcode in ("call", "async-start"):
            for callee in called.values():
                yield from _walk(program, callee, times, certain)
