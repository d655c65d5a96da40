"""Arrays kept on disk between runs: each file with a digest, and none needed to go on.

A file is mapped when it is read: its pages come from the disk when they are used and leave memory
when others need the room, so that arrays may be larger than memory.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import xxhash
from safetensors import SafetensorError, safe_open

from mpjax.disk import writing
from mpjax.errors import InputError
from mpjax.files import write_atomically
from mpjax.log import log, without_cache
from mpjax.temporary import beside

SUFFIX = ".safetensors"
BLOCK = 1 << 20  # bytes read at once: a digest needs none of them afterwards
_RECORD = "digest and names"  # one key: the order of several would change from file to file


class _Source(NamedTuple):
    """Array whose bytes come in blocks, as often as they are asked for."""

    dtype: np.dtype
    shape: tuple[int, ...]
    blocks: Callable[[], Iterable[Any]]

    @property
    def size(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


def keep(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Writes arrays with their digest; False for a disk that refuses, which is said once."""
    sources = {
        name: _Source(array.dtype, array.shape, partial(_whole, array))
        for name, array in arrays.items()
    }
    return _tried(path, partial(_write, path, sources))


def keep_parts(path: Path, parts: Iterable[Mapping[str, np.ndarray]]) -> bool:
    """Writes arrays that come in parts along their first axis, one part in memory at a time.

    The file is the one that `keep` writes of the whole arrays. While it is made, its content is on
    the disk twice.

    Args:
      parts: at least one; all have the same names, types and shapes but for the first axis.

    Returns:
      Whether the file was written; a disk that refuses is said once.
    """
    gathered: dict[str, _Source] = {}
    with ExitStack() as stack:
        folder = path.with_suffix(".parts")

        def begin() -> None:
            nonlocal folder
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(beside(folder, folder=True))

        if not _tried(path, begin):
            return False
        for part in parts:
            if not _tried(path, partial(_append, folder, gathered, part)):
                return False
        return _tried(path, partial(_write, path, gathered))


def kept(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays of a file that `keep` wrote, read-only; None for no file, and for a damaged one.

    A damaged one is said. Every byte is read once, in blocks, and compared with the digest.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:  # checks places and sizes of all arrays
            recorded, *names = json.loads((file.metadata() or {})[_RECORD])
        places = _places(path)
        found = {name: places[name] for name in names}
        right = _digest({name: place.source(path) for name, place in found.items()}) == recorded
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = {name: place.of(mapped) for name, place in found.items()}
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        damaged(path, f"{type(error).__name__} {error}")
        return None
    if not right:
        damaged(path, "its digest is wrong")
        return None
    return arrays


def damaged(path: Path, why: str) -> None:
    """Says that an entry of the cache is not what it should be."""
    log.warning("%s is damaged and is made again: %s", path, why)


class _Place(NamedTuple):
    """Array inside a file."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int

    def source(self, path: Path) -> _Source:
        return _Source(self.dtype, self.shape, partial(_blocks, path, self.begin, self.end))

    def of(self, mapped: mmap.mmap) -> np.ndarray:
        count = (self.end - self.begin) // self.dtype.itemsize
        return np.frombuffer(mapped, self.dtype, count, self.begin).reshape(self.shape)


def _tried(path: Path, write: Callable[[], object]) -> bool:
    try:
        with writing(path):
            write()
    except InputError as error:
        without_cache(error)
        return False
    return True


def _whole(array: np.ndarray) -> list[memoryview]:
    return [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data]


def _blocks(path: Path, begin: int, end: int) -> Iterator[bytes]:
    """Bytes of a file from `begin` to `end`, in blocks; fewer if the file is shorter."""
    with path.open("rb") as file:
        file.seek(begin)
        for at in range(begin, end, BLOCK):
            yield file.read(min(BLOCK, end - at))


def _append(folder: Path, gathered: dict[str, _Source], part: Mapping[str, np.ndarray]) -> None:
    """Adds a part to the files of a folder, one per array."""
    if gathered and list(gathered) != list(part):
        raise ValueError(f"a part has the arrays {list(part)}, the first has {list(gathered)}")
    for i, (name, array) in enumerate(part.items()):
        dtype, (rows, *tail) = array.dtype, array.shape
        if name in gathered:
            before = gathered[name]
            if (dtype, tail) != (before.dtype, [*before.shape[1:]]):
                raise ValueError(f"a part of {name} is {dtype} {tail}, the first is {before}")
            rows += before.shape[0]
        file = folder / str(i)
        with file.open("ab") as out:
            out.write(_whole(array)[0])
        place = _Place(dtype, (rows, *tail), 0, dtype.itemsize * math.prod((rows, *tail)))
        gathered[name] = place.source(file)


def _write(path: Path, sources: Mapping[str, _Source]) -> None:
    """Writes a safetensors file; the library's own writer needs all arrays as bytes in memory."""
    # Large items first, so that every array is aligned.
    laid = sorted(sources, key=lambda name: -sources[name].dtype.itemsize)
    record = json.dumps([_digest(sources), *sources])
    header: dict[str, Any] = {"__metadata__": {_RECORD: record}}
    at = 0
    for name in laid:
        dtype, shape, _ = sources[name]
        offsets = [at, at := at + sources[name].size]
        header[name] = {"dtype": _type_name(dtype), "shape": [*shape], "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BinaryIO) -> None:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in laid:
            file.writelines(sources[name].blocks())

    write_atomically(path, write, 8 + len(text) + at)


def _places(path: Path) -> dict[str, _Place]:
    """Arrays of a safetensors file whose header has been checked."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    places = {}
    for name, entry in header.items():
        begin, end = (8 + length + at for at in entry["data_offsets"])
        places[name] = _Place(_type_of(entry["dtype"]), tuple(entry["shape"]), begin, end)
    return places


def _type_name(dtype: np.dtype) -> str:
    """Name of a type in safetensors files.

    >>> _type_name(np.dtype(np.uint16)), _type_name(np.dtype(bool))
    ('U16', 'BOOL')
    """
    return "BOOL" if dtype.kind == "b" else f"{dtype.kind.upper()}{8 * dtype.itemsize}"


def _type_of(name: str) -> np.dtype:
    """Type of a name of `_type_name`; `ValueError` or `TypeError` for others.

    >>> _type_of("U16")
    dtype('uint16')
    """
    return np.dtype(bool if name == "BOOL" else f"{name[0].lower()}{int(name[1:]) // 8}")


def _digest(sources: Mapping[str, _Source]) -> str:
    """Hash of order, names, types, shapes and values, 32 hex digits."""
    state = xxhash.xxh3_128()
    for name, source in sources.items():
        state.update(repr((name, source.dtype.str, source.shape)).encode())
        for block in source.blocks():
            state.update(block)
    return state.hexdigest()
