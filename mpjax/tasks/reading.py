"""Finding and reading data files: tab-separated and JSON lines, with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpjax.errors import InputError


def find(data: Path, folders: Sequence[str], names: Sequence[str]) -> Path:
    """The first file of `names` in the folder `data` or in one of its subfolders `folders`.

    A `data` that is a file is the answer itself.
    """
    if data.is_file():
        return data
    if not data.exists():
        raise InputError(f"data: {data} does not exist; give a folder or a file")
    for folder in [data, *(data / name for name in folders)]:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    looked = ", ".join(names)
    raise InputError(f"data: nothing to read in {data}; looked for {looked}")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their number from 1, without line end or byte-order mark; empty ones skipped.

    Only a newline ends a line: official files hold other separators (U+2028) inside sentences.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise InputError(f"{path} line {number}: not UTF-8 text ({error.reason})") from None
            if text.strip():
                yield number, text


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON-lines file with their line numbers."""
    for number, line in lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number}: not JSON ({error})") from None
        if not isinstance(record, dict):
            raise InputError(f"{path} line {number}: expected an object, got {line[:40]!r}")
        yield number, record


def tsv(
    path: Path, header: Sequence[str] | None = None, broken: float = 0.0
) -> Iterator[tuple[int, dict[str, str]]]:
    """Records of a tab-separated file as GLUE distributes it: quotes are ordinary characters.

    `header` names the columns of a file without a header line. Up to a share `broken` of the
    lines may have the wrong number of columns and is skipped; the first one beyond it is an error.
    """
    numbered = list(lines(path))
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
