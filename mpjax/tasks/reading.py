"""Data files: where they are, and tab-separated and JSON lines with errors that name the line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import check_memory, parse_json, shown
from mpjax.hostmemory import available

# Bytes of memory for each byte of a file of lines: 4.5 to 6 were measured for rows of 100
# characters, 12 to 28 for rows of 10.
TIMES = 4
_LINE = 200  # bytes that a row takes besides its text
_OFTEN, _RESERVE = 64_000_000, 256_000_000  # bytes between two looks, and bytes to be left


def find_file(data: Path, folders: Sequence[str], names: Sequence[str]) -> Path:
    """First existing file of `names` in the folder `data` or its subfolders `folders`.

    Returns `data` itself if it is a file.

    Raises:
      InputError: `data` does not exist, or holds none of the files.
    """
    # os.path answers False where Path raises: for a name too long, or with a NUL.
    if os.path.isfile(data):
        return data
    if not os.path.exists(data):
        raise InputError(f"data: {shown(data)} does not exist; give a folder or a file")
    for folder in [data, *(data / name for name in folders)]:
        for name in names:
            if os.path.isfile(folder / name):
                return folder / name
    raise InputError(f"data: no data file in {data}; looked for {', '.join(names)}")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Non-empty lines of a UTF-8 file with their numbers from 1.

    Line ends and a byte-order mark are removed. Only a newline ends a line: official files hold
    other separators (U+2028) inside sentences.
    """
    for number, line in enumerate(raw_lines(path), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} line {number}: not UTF-8 text ({error.reason})") from None
        if text.strip():
            yield number, text


def raw_lines(path: Path) -> Iterator[bytes]:
    """Lines of a file with their ends.

    Raises:
      InputError: a file that cannot be read, or whose rows do not fit into memory. That is foreseen
        by its size, and looked after while it is read: short rows take more than long ones.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror}") from error
    with file:
        check_memory(path, TIMES * os.fstat(file.fileno()).st_size)
        room = Room(path)
        for line in file:
            room.take(len(line) + _LINE)
            yield line


class Room:
    """Memory that the rows of a file may still take, looked up as they grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken = 0

    def take(self, size: int) -> None:
        """Counts bytes that are taken; `InputError` if little memory is left."""
        self._taken += size
        if self._taken < _OFTEN:
            return
        self._taken, free = 0, available()
        if free is not None and free < _RESERVE:
            raise InputError(
                f"{shown(self._path)}: its rows do not fit into memory, of which "
                f"{free / 1e9:,.1f} GB are left; give a smaller file, or use a larger machine"
            )


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON-lines file, each after its line number."""
    for number, line in numbered_lines(path):
        record = parse_json(path, line.encode(), number)
        if not isinstance(record, dict):
            raise InputError(f"{path} line {number}: expected an object, found {line[:40]!r}")
        yield number, record


def read_tsv(
    path: Path, header: Sequence[str] | None = None, broken: float = 0.0
) -> Iterator[tuple[int, dict[str, str]]]:
    """Records of a tab-separated file, each after its line number; quotes are plain characters.

    Args:
      header: column names of a file without a header line.
      broken: share of lines with a wrong number of columns that are skipped. One more is an error.
    """
    numbered = list(numbered_lines(path))
    if header is None and numbered:
        number, line = numbered.pop(0)
        header = line.split("\t")
        twice = [name for name, times in Counter(header).items() if name.strip() and times > 1]
        if twice:
            raise InputError(
                f"{path} line {number}: two columns are called {shown(repr(twice[0]))}"
            )
    columns = tuple(header or ())
    spare = int(broken * len(numbered))
    for number, line in numbered:
        cells = line.split("\t")
        if len(cells) != len(columns):
            if spare:
                spare -= 1
                continue
            raise InputError(
                f"{path} line {number}: expected {len(columns)} tab-separated columns "
                f"({shown(', '.join(columns))}), found {len(cells)}"
            )
        yield number, dict(zip(columns, cells, strict=True))
