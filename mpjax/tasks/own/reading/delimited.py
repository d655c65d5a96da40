"""Files of delimited columns, csv and tsv, with line numbers that count lines inside quotes."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.glue.quoting import LONGEST
from mpjax.tasks.reading import raw_lines

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_TRIED = 50  # records that decide between delimiters
Records = list[tuple[int, dict[str, Any]]]
Cells = Iterator[tuple[int, list[str]]]


def read_delimited(path: Path) -> tuple[tuple[str, ...], Records]:
    """Columns and numbered records of a csv or tsv file, UTF-8 with or without byte-order mark.

    The first line names the columns. Quotes are those of csv: cells may hold delimiters, line
    breaks and doubled quotes. A tsv file in which quotes do not pair is read with plain quotes.

    Raises:
      InputError: not UTF-8, a NUL, lines that end in carriage returns alone, quotes that do not
        pair, a line with another number of cells.
    """
    csv.field_size_limit(LONGEST)
    lines = list(text_lines(path))
    if len(lines) == 1 and "\r" in lines[0].rstrip("\r\n"):
        raise InputError(
            f"{shown(path)}: lines end in carriage returns alone; save the file with newlines"
        )
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(lines)
    if path.suffix.lower() == ".csv" and delimiter != ",":
        log.info("%s: columns are separated by %s", shown(path), DELIMITERS[delimiter])
    if delimiter == "\t":
        try:
            return _read(path, lines, delimiter, quoted=True)
        except InputError:
            found = _read(path, lines, delimiter, quoted=False)
            log.info("%s: quotes do not pair, so they are read as plain characters", shown(path))
            return found
    return _read(path, lines, delimiter, quoted=True)


def _read(
    path: Path, lines: list[str], delimiter: str, quoted: bool
) -> tuple[tuple[str, ...], Records]:
    rows = _cells(path, lines, delimiter, quoted)
    first, header = next(rows, (1, []))
    columns = tuple(name.strip() for name in header)
    twice = [name for name, times in Counter(columns).items() if name and times > 1]
    if twice:
        raise InputError(f"{shown(path)} line {first}: two columns are called {shown(twice[0])!r}")
    records = []
    for number, cells in rows:
        if len(cells) != len(columns):
            raise InputError(
                f"{shown(path)} line {number}: expected {len(columns)} columns separated by "
                f"{DELIMITERS[delimiter]} ({shown(', '.join(columns))}), found {len(cells)}; quote "
                "cells that hold the separator"
            )
        if delimiter == "\t" and quoted and any("\t" in cell for cell in cells):
            raise InputError(f"{shown(path)} line {number}: a quoted cell holds a tab")
        records.append((number, dict(zip(columns, cells, strict=True))))
    return columns, records


def _cells(path: Path, lines: list[str], delimiter: str, quoted: bool) -> Cells:
    """Cells of every record that is not blank, after the number of its first line."""
    style = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=style, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{shown(path)} line {number}: {error}; is a quote in the record that begins there "
                "not closed, or not doubled?"
            ) from error
        if any(cell.strip() for cell in cells):
            yield number, cells


def _delimiter(lines: list[str]) -> str:
    """Delimiter under which the first records have the most equal columns, a comma if in doubt.

    >>> _delimiter(["text;label", "fine, thanks;1"])
    ';'
    """

    def columns(delimiter: str) -> int:
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            widths = [len(cells) for cells, _ in zip(reader, range(_TRIED), strict=False) if cells]
        except csv.Error:
            return 0
        return widths[0] if len(set(widths)) == 1 else 0

    best = max(DELIMITERS, key=columns)  # the first of equals
    if columns(best) > 1:
        return best
    head = lines[0] if lines else ""
    return "," if "," in head else max(DELIMITERS, key=head.count)


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends. Only a newline ends a line."""
    for number, line in enumerate(raw_lines(path), start=1):
        where = f"{shown(path)} line {number}"
        if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{where}: UTF-16 text; save the file as UTF-8")
        if b"\0" in line:
            raise InputError(f"{where}: a NUL byte, which no text has; save the file anew")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}: not UTF-8 text ({error.reason}); save the file as UTF-8"
            ) from None
