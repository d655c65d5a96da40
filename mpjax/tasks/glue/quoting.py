"""Tables whose cells are quoted, as ``csv`` and pandas write them, told from literal quotes.

Official files hold quotes as plain characters. A writer of csv puts a cell that has a quote, a
separator or a line break into quotes and doubles the quotes in it. A file is taken for written so
if every quote in it can be read that way, and one at least can be read in no other.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import read_bytes, shown
from mpjax.log import log
from mpjax.tasks.reading import TIMES

# Possessive: a file of many cells is matched, or not, in one pass.
_TABLE = re.compile(r'(?:(?:"(?:[^"]|"")*+"|[^"\n\t\r]*+)(?:[\t\n]|\r\n|\Z))*+')
LONGEST = 1 << 26  # characters of a cell


def read_quoted(
    path: Path, header: Sequence[str] | None = None
) -> Iterator[tuple[int, dict[str, str]]] | None:
    """Records of a quoted table, each after its line number; None for any other file.

    The separator is a comma where the first line has no tab. Line numbers are those of the last
    line of a record.

    Args:
      header: column names of a file without a header line.

    Raises:
      InputError: a record with another number of cells than the header.
    """
    try:
        text = read_bytes(path, TIMES).decode("utf-8-sig")
    except UnicodeDecodeError:
        return None  # said, with its line, by the reader of plain tables
    separator = "\t" if "\t" in text.split("\n", 1)[0] or path.suffix != ".csv" else ","
    if separator == "\t" and not _is_quoted(text):
        return None
    if separator == "\t":
        log.info("%s: cells are quoted as in csv files, and read without the quotes", shown(path))
    return _records(path, text, separator, header)


def _is_quoted(text: str) -> bool:
    """Whether a tab-separated text has quoted cells, and no quote anywhere else."""
    if '"' not in text or _TABLE.fullmatch(text) is None:
        return False
    head = text.split("\n", 1)[0].rstrip("\r")
    whole = all(cell[:1] == cell[-1:] == '"' for cell in head.split("\t"))
    quoted = re.findall(r'(?:^|(?<=[\t\n]))"((?:[^"]|"")*+)"(?=[\t\r\n]|\Z)', text)
    return whole or any('""' in cell or "\t" in cell or "\n" in cell for cell in quoted)


def _records(
    path: Path, text: str, separator: str, header: Sequence[str] | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(LONGEST)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns = tuple(header or ())
    for begin, cells in _cells(path, lines):
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = tuple(cells)
            twice = [name for name, count in Counter(columns).items() if count > 1]
            if twice:
                raise InputError(
                    f"{path} line {begin}: two columns are called {shown(twice[0])}; rename one"
                )
            continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path} line {begin}: expected {len(columns)} cells "
                f"({shown(', '.join(columns))}), found {len(cells)}"
            )
        yield begin, dict(zip(columns, cells, strict=True))


def _cells(path: Path, lines: Any) -> Iterator[tuple[int, list[str]]]:
    """First line and cells of every record of a `csv.reader`; `InputError` for an open quote."""
    while True:
        begin = lines.line_num + 1
        try:
            cells = next(lines, None)
        except csv.Error as error:
            raise InputError(
                f"{path} line {begin}: a quote is not closed, or not at the end of its cell "
                f"({error}); write the file again"
            ) from error
        if cells is None:
            return
        yield begin, cells
