"""Sizes and hashes of files, to find a flipped bit or a missing end when they are read again.

The hash is XXH3 of 128 bits: it finds accidents, not forgery, and costs less than reading the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xxhash

_BLOCK = 1 << 22
_THREADS = 4


def digest(path: Path) -> str:
    """Hash of a file's content, 32 hex digits."""
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def digests(folder: Path) -> dict[str, list[Any]]:
    """Size and hash of every file under a folder, by its path from there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(digest, paths))
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, found]
        for path, found in zip(paths, hashes, strict=True)
    }


def damage(folder: Path, recorded: Mapping[str, Sequence[Any]]) -> str | None:
    """First difference between the files of a folder and their recorded digests; None without one.

    Files that are not recorded are not looked at.
    """
    for name, (size, _) in recorded.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not the {size} that were written"
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(digest, [folder / name for name in recorded]))
    for (name, (_, then)), now in zip(recorded.items(), hashes, strict=True):
        if now != then:
            return f"{name} has other content than was written"
    return None
