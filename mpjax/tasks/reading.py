"""Data files: where they are, and tab-separated and JSON lines with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpjax.errors import InputError


def find_file(data: Path, folders: Sequence[str], names: Sequence[str]) -> Path:
    """First existing file of `names` in the folder `data` or its subfolders `folders`.

    Returns `data` itself if it is a file.

    Raises:
      InputError: `data` does not exist, or holds none of the files.
    """
    if data.is_file():
        return data
    if not data.exists():
        raise InputError(f"data: {data} does not exist; give a folder or a file")
    for folder in [data, *(data / name for name in folders)]:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    raise InputError(f"data: no data file in {data}; looked for {', '.join(names)}")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Non-empty lines of a UTF-8 file with their numbers from 1.

    Line ends and a byte-order mark are removed. Only a newline ends a line: official files hold
    other separators (U+2028) inside sentences.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{path} line {number}: not UTF-8 text ({error.reason})") from None
            if text.strip():
                yield number, text


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON-lines file, each after its line number."""
    for number, line in numbered_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number}: not JSON ({error})") from None
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
        header = numbered.pop(0)[1].split("\t")
    spare = int(broken * len(numbered))
    for number, line in numbered:
        cells = line.split("\t")
        if len(cells) != len(header or ()):
            if spare:
                spare -= 1
                continue
            raise InputError(
                f"{path} line {number}: expected {len(header or ())} tab-separated columns "
                f"({', '.join(header or ())}), found {len(cells)}"
            )
        yield number, dict(zip(header or (), cells, strict=True))
