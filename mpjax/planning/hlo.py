"""Parser of optimized HLO text: computations, instructions and the bytes of their arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = ")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<= ]*)\](\{[^}]*\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(calls|to_apply|condition|body|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")


@dataclass(frozen=True)
class Array:
    """Size and memory of one array of a shape."""

    bytes: int
    in_hbm: bool = True  # False in a faster memory on the chip


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation."""

    name: str
    opcode: str
    arrays: tuple[Array, ...]  # of the result; several for a tuple
    operands: tuple[str, ...]
    rest: str  # attributes, the text after the operands
    root: bool = False
    literal: str = ""  # text between the parentheses

    def called(self) -> dict[str, str]:
        """Names of the called computations by attribute; ``branch_0`` ... for a conditional."""
        found = dict(_CALLED.findall(self.rest))
        branches = _BRANCHES.search(self.rest)
        if branches:
            for i, name in enumerate(branches[1].split(",")):
                found[f"branch_{i}"] = name.strip().lstrip("%")
        return found


@dataclass
class Computation:
    """Instructions by name, in program order."""

    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        """Instruction whose result the computation returns."""
        return next(i for i in self.instructions.values() if i.root)

    def parameter(self, index: int) -> Instruction:
        """Parameter instruction of an index."""
        return next(
            i
            for i in self.instructions.values()
            if i.opcode == "parameter" and i.literal == str(index)
        )

    def users(self, name: str) -> list[Instruction]:
        """Instructions that have `name` among their operands."""
        return [i for i in self.instructions.values() if name in i.operands]


@dataclass(frozen=True)
class HloModule:
    """Computations by name, and the name of the entry computation."""

    computations: Mapping[str, Computation]
    entry: str


def parse_hlo(text: str) -> HloModule:
    """Parses the text of an optimized HLO module, ``compiled.as_text()``.

    >>> program = parse_hlo('''
    ... ENTRY %main (x: f32[4]) -> f32[4] {
    ...   %x = f32[4]{0} parameter(0)
    ...   ROOT %y = f32[4]{0} add(%x, %x)
    ... }''')
    >>> program.computations["main"].root.opcode
    'add'
    """
    computations: dict[str, Computation] = {}
    entry, current = "", Computation("")
    for line in text.splitlines():
        head = _COMPUTATION.match(line)
        if head:
            current = computations[head[2]] = Computation(head[2])
            entry = head[2] if head[1] else entry
            continue
        begin = _INSTRUCTION.match(line)
        if begin:
            made = _instruction(line[begin.end() :], begin[2], bool(begin[1]))
            current.instructions[made.name] = made
    return HloModule(computations, entry)


def shape_arrays(shape: str) -> tuple[Array, ...]:
    """Arrays of a shape string; ``S(n)`` in a layout means a memory space other than HBM.

    >>> shape_arrays("(bf16[2,3]{1,0}, s32[]{:T(128)S(1)})")
    (Array(bytes=12, in_hbm=True), Array(bytes=4, in_hbm=False))
    """
    found = []
    for dtype, sizes, layout in _ARRAY.findall(shape):
        entries = math.prod(int(n) for n in re.findall(r"\d+", sizes))
        found.append(Array(math.ceil(entries * _bits(dtype) / 8), "S(" not in layout))
    return tuple(found)


def _bits(dtype: str) -> int:
    if dtype in ("pred", "token", "opaque"):  # names without a width
        return 8 if dtype == "pred" else 0
    return int(re.findall(r"\d+", dtype)[0])  # as in bf16, s4, c64, f8e4m3fn


def _instruction(text: str, name: str, root: bool) -> Instruction:
    stop = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    shape, behind = text[:stop], text[stop:].lstrip()
    opening = behind.index("(")
    closing = _closing(behind, opening)
    inside = behind[opening + 1 : closing]
    return Instruction(
        name, behind[:opening], shape_arrays(shape), tuple(_NAME.findall(inside)),
        behind[closing + 1 :], root, inside,
    )  # fmt: skip


def _closing(text: str, opening: int) -> int:
    """Index of the parenthesis that closes the one at `opening`."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}")
