"""Trip counts of loops, and execution counts of the instructions of a compiled program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mpjax.planning.hlo import Computation, HloModule, Instruction
from mpjax.planning.values import Value, in_context, producer

_KNOWN_TRIPS = re.compile(r'known_trip_count"?\s*:?\s*[={]\s*"?n"?\s*[:=]\s*"?(\d+)')
_DIRECTION = re.compile(r"direction=(\w+)")
_TURNED = {"LT": "GT", "GT": "LT", "LE": "GE", "GE": "LE", "NE": "NE"}  # with operands exchanged


class TripCount(NamedTuple):
    """Iterations of a loop."""

    count: int
    exact: bool  # False for an upper bound: the loop may stop early


def trip_count(program: HloModule, loop: Instruction) -> TripCount | None:
    """Trip count of a ``while``, None if the program text bounds it nowhere.

    Read from the compiler's ``known_trip_count``, else from a condition that compares a counter
    with a constant, alone or ``and`` other terms. The counter starts from a constant and changes
    by a constant per iteration. Each of the three may be inside fusions.
    """
    known = _KNOWN_TRIPS.search(loop.rest)
    if known:
        return TripCount(int(known[1]), True)
    condition = program.computations[loop.called()["condition"]]
    terms = _terms(program, Value(condition.root, condition))
    found = [bound for term in terms if (bound := _bound(program, loop, term)) is not None]
    return TripCount(min(found), len(found) == len(terms)) if found else None


def _terms(program: HloModule, condition: Value) -> list[Value]:
    """Terms of a conjunction, nested ones included."""
    seen = producer(program, condition)
    if seen.opcode != "and":
        return [seen]
    return [term for part in seen.operands() for term in _terms(program, part)]


def _bound(program: HloModule, loop: Instruction, compare: Value) -> int | None:
    """Iterations until a comparison of a counter with a constant fails, None if unknown."""
    direction = _DIRECTION.search(compare.instruction.rest)
    if compare.opcode != "compare" or not direction or direction[1] not in _TURNED:
        return None
    way = direction[1]
    counter, limit = (producer(program, operand) for operand in compare.operands())
    if counter.opcode == "constant":
        counter, limit, way = limit, counter, _TURNED[way]
    last, index = limit.number(), _state_index(program, counter)
    if last is None or index is None:
        return None
    step, start = _stride(program, loop, index), _start(program, loop, index)
    if step is None or start is None:
        return None
    return _iterations(last - start, step, way)


def _state_index(program: HloModule, value: Value) -> int | None:
    """Index of a value in the state tuple of its loop, None for a computed value."""
    if value.opcode != "get-tuple-element":
        return None
    whole = producer(program, value.operands()[0])
    return value.index() if whole.opcode == "parameter" else None


def _iterations(gap: int, step: int, way: str) -> int | None:
    """Iterations until ``i * step <way> gap`` fails for i = 0, 1, ...; None if it never does.

    >>> [_iterations(*case) for case in ((5, 2, "LT"), (6, 2, "LT"), (6, 2, "LE"), (-6, -1, "NE"))]
    [3, 3, 4, 6]
    """
    if way in ("GT", "GE") or (way == "NE" and step < 0):
        gap, step = -gap, -step
    if step <= 0 or (way == "NE" and (gap < 0 or gap % step)):
        return None
    return max(0, gap // step + 1 if way in ("LE", "GE") else -(-gap // step))


def _stride(program: HloModule, loop: Instruction, index: int) -> int | None:
    """Constant that an iteration adds to a counter, None if it adds none."""
    body = program.computations[loop.called()["body"]]
    root = producer(program, Value(body.root, body))
    if root.opcode != "tuple":
        return None
    added, total = producer(program, root.operands()[index]), 0
    bits = 8 * sum(array.bytes for array in added.instruction.arrays)
    while added.opcode in ("add", "subtract"):  # a chain of them in an unrolled body
        first, second = (producer(program, operand) for operand in added.operands())
        if added.opcode == "add" and second.number() is None:
            first, second = second, first
        step = second.number()
        if step is None:
            return None
        total += step if added.opcode == "add" else -step
        added = first
    if _state_index(program, added) != index:
        return None
    total %= 2**bits  # an unsigned counter goes down by adding 2**bits - 1
    return total if total < 2 ** (bits - 1) else total - 2**bits


def _start(program: HloModule, loop: Instruction, index: int) -> int | None:
    """Constant initial value of a counter, None if it is computed."""
    first = producer(program, in_context(program, loop).operands()[0])
    if first.opcode != "tuple":
        return None
    return producer(program, first.operands()[index]).number()


def walk(program: HloModule) -> Iterator[tuple[Computation, Instruction, int, bool]]:
    """Executed instructions, each with its computation, execution count and certainty.

    A fusion is one instruction; the instructions inside it are left out. Counts are uncertain in
    three places: a loop that may stop early counts with its bound, a loop without a bound counts
    once, and a conditional counts every branch.
    """
    yield from _walk(program, program.entry, 1, True)


def _walk(
    program: HloModule, name: str, times: int, certain: bool
) -> Iterator[tuple[Computation, Instruction, int, bool]]:
    computation = program.computations[name]
    for instruction in computation.instructions.values():
        yield computation, instruction, times, certain
        called = instruction.called()
        if instruction.opcode == "while":
            count, exact = trip_count(program, instruction) or TripCount(1, False)
            yield from _walk(program, called["body"], times * count, certain and exact)
        elif instruction.opcode == "conditional":
            for callee in called.values():
                yield from _walk(program, callee, times, False)
        elif instruction.opcode in ("call", "async-start"):
            for callee in called.values():
                yield from _walk(program, callee, times, certain)
