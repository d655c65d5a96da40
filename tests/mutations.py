"""Seeded damage to bytes and to JSON values."""

from __future__ import annotations

import random
from typing import Any

PIECES = (
    b"", b"\x00", b"\xff", b"\t", b"\n", b'"', b"{", b"}", b"[", b"]", b",", b"-", b"NaN", b"1e999",
    rb"\ud800", b"9" * 5000, b"[" * 2000, b"null", b"true", "\N{ZERO WIDTH SPACE}".encode(),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 7, 1 << 20, 10**12, 10**200, 1.5, -0.0, float("nan"), float("inf"),
    "", "x", "\x00", "9" * 5000, "../x", [], [[]], [1, 2], {}, {"a": []}, ["x", 1],
)  # fmt: skip


def damaged(dice: random.Random, content: bytes) -> bytes:
    """Bytes with one to three cuts, flips, repeats or foreign pieces."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(content) + 1)
        end = min(len(content), at + dice.choice((0, 1, 1, 2, 8, 40)))
        pieces = (dice.choice(PIECES), dice.randbytes(1), content[at:end] * 2)
        content = content[:at] + dice.choice(pieces) + content[end:]
        if dice.random() < 0.1:
            content = content[: dice.randrange(len(content) + 1)]
    return content


def altered(dice: random.Random, value: Any) -> Any:
    """A JSON value with one value below it replaced, removed, or added under another name."""
    if not isinstance(value, dict | list) or not value or dice.random() < 0.1:
        return dice.choice(VALUES)
    key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    copy: Any = value.copy()
    if dice.random() < 0.1:
        del copy[key]
    elif dice.random() < 0.1 and isinstance(copy, dict):
        copy[str(dice.choice(VALUES))[:40]] = copy.pop(key)
    else:
        copy[key] = altered(dice, value[key])
    return copy
