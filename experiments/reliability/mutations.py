"""Seeded damage to bytes, JSON and lines. Every function takes a random generator and bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

Spoiler = Callable[[random.Random, bytes], bytes]

# JSON text of values that readers trip over. Python cannot build some of them, hence text.
HOSTILE: tuple[str, ...] = (
    "0", "-1", "1", "2", "0.5", "1000000000000", "-1000000000000", "1e400", "-1e400", "1e-400",
    "NaN", "Infinity", "9" * 4400, "true", "false", "null", '""', '"a"', '" "', '"0"', r'"\ud800"',
    r'"\u0000"', r'"\u2028"', '"../../x"', '"/"', '"' + "x" * 70_000 + '"', "[]", "{}", "[[]]",
    '{"a": 1}', '["a", "b"]', "[1, 2, 3]", "[-1]", "[1000000000000]",
    "[" * 3_000 + "]" * 3_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 3_000 + "1" + "}" * 3_000,
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b" ", b"\0", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\r", b"\n", b"\t", b'"', b"NaN",
    b"-1", b"1e400", b"9" * 4400, b"x" * 70_000, b"[" * 3_000, b"\xef\xbb\xbf", b"1_0",
    "\u0661".encode(),
)  # fmt: skip
_HOLE = "\ue000hole\ue000"  # stands where a hostile text will


def flip_bit(rng: random.Random, data: bytes) -> bytes:
    """One bit flipped."""
    if not data:
        return data
    position = rng.randrange(len(data))
    changed = bytearray(data)
    changed[position] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert(rng: random.Random, data: bytes) -> bytes:
    """Random bytes or a hostile text put in somewhere."""
    position = rng.randrange(len(data) + 1)
    new = rng.choice(TEXTS) if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 9))
    return data[:position] + new + data[position:]


def delete(rng: random.Random, data: bytes) -> bytes:
    """A stretch taken out."""
    start, end = _stretch(rng, data)
    return data[:start] + data[end:]


def duplicate(rng: random.Random, data: bytes) -> bytes:
    """A stretch written twice."""
    start, end = _stretch(rng, data)
    return data[:end] + data[start:end] + data[end:]


def overwrite(rng: random.Random, data: bytes) -> bytes:
    """A stretch replaced by zeros or noise."""
    start, end = _stretch(rng, data)
    new = bytes(end - start) if rng.random() < 0.5 else rng.randbytes(end - start)
    return data[:start] + new + data[end:]


def truncate(rng: random.Random, data: bytes) -> bytes:
    """The end cut off, at times all of it."""
    return data[: rng.randrange(len(data) + 1) if rng.random() < 0.9 else 0]


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to three kinds of damage that know nothing of the format."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(_BYTES)(rng, data)
    return data


def spoil_json(rng: random.Random, data: bytes) -> bytes:
    """One to three nodes of a JSON document changed; the rest stays JSON."""
    document = json.loads(data)
    hostile: list[str] = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        document = _change_node(rng, document, hostile)
    text = json.dumps(document)
    for value in hostile:
        text = text.replace(json.dumps(_HOLE), value, 1)
    return text.encode()


def spoil_lines(rng: random.Random, data: bytes) -> bytes:
    """One line damaged, as JSON where it is JSON, else in one of its cells."""
    lines = data.split(b"\n")
    index = rng.randrange(len(lines))
    try:
        json.loads(lines[index])
    except ValueError:
        cells = lines[index].split(b"\t")
        cells[rng.randrange(len(cells))] = rng.choice(TEXTS)
        lines[index] = b"\t".join(cells)
    else:
        lines[index] = spoil_json(rng, lines[index])
    return b"\n".join(lines)


def either(*spoilers: Spoiler) -> Spoiler:
    """A spoiler that is one of several."""
    return lambda rng, data: rng.choice(spoilers)(rng, data)


_BYTES: Sequence[Spoiler] = (flip_bit, flip_bit, insert, delete, duplicate, overwrite, truncate)


def _stretch(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    longest = 16 if rng.random() < 0.7 else len(data)
    return start, min(len(data), start + rng.randrange(longest + 1))


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Container and key or index of every node below the top."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys if isinstance(node[key], dict | list)]
    return found


def _change_node(rng: random.Random, document: Any, hostile: list[str]) -> Any:
    places = _places(document) if isinstance(document, dict | list) else []
    if not places or rng.random() < 0.02:
        hostile.append(rng.choice(HOSTILE))
        return _HOLE
    node, key = rng.choice(places)
    choice = rng.random()
    if choice < 0.6:
        node[key] = _HOLE
        hostile.append(rng.choice(HOSTILE))
    elif choice < 0.75:
        del node[key]
    elif choice < 0.85:
        other, place = rng.choice(places)
        node[key] = json.loads(json.dumps(other[place])) if _has(other, place) else None
    elif isinstance(node, dict):
        node[rng.choice(("", "x" * 5_000, "\ud800", "\0", f"{key}x"))] = node.pop(key)
    else:
        node[key] = [node[key]] if choice < 0.95 else {"0": node[key]}
    return document


def _has(node: Any, key: Any) -> bool:
    return key in node if isinstance(node, dict) else key < len(node)
