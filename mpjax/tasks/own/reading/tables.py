"""Tables of any supported file: records by column, each with its line or row number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import read_json, shown
from mpjax.tasks.own.columns import LABELS, TAGS, TEXTS, WORDS
from mpjax.tasks.own.reading.conll import read_columns
from mpjax.tasks.own.reading.delimited import read_delimited
from mpjax.tasks.own.reading.parquet import read_parquet
from mpjax.tasks.reading import numbered_lines, read_json_lines

CONLL = (".conll", ".bio", ".iob")
KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", *CONLL)
_ROW = {name for names in (*TEXTS, *WORDS, *LABELS, *TAGS) for name in names}  # of one row's object
Record = dict[str, Any]


@dataclass(frozen=True, eq=False)  # a key of caches by identity
class Table:
    """Records of one file or split.

    Attributes:
      source: file or data set, for messages.
      columns: names of the columns, in order.
      records: number and values of each record; a record may lack columns.
      unit: what the numbers count, ``line`` or ``row``.
      names: class names by column, where the file declares them.
    """

    source: str
    columns: tuple[str, ...]
    records: list[tuple[int, Record]]
    unit: str = "line"
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def where(self, number: int) -> str:
        """Place of a record, for messages."""
        return f"{self.source} {self.unit} {number}"


def read_table(path: Path) -> Table:
    """Table of a csv, tsv, jsonl, json or parquet file, by its ending.

    Raises:
      InputError: another ending, an empty file, or a malformed record, which is named.
    """
    kind = path.suffix.lower()
    if kind in (".csv", ".tsv"):
        columns, records = read_delimited(path)
        table = Table(shown(path), columns, records)
    elif kind == ".json" and _is_list(path):
        table = records_table(path, read_json(path))
    elif kind == ".json" and (rows := _rows_of_object(path)) is not None:
        table = records_table(path, rows)
    elif kind in (".json", ".jsonl"):
        records = list(read_json_lines(path))
        table = Table(shown(path), _columns(record for _, record in records), records)
    elif kind == ".parquet":
        columns, rows, names = read_parquet(path)
        table = Table(shown(path), columns, list(enumerate(rows, 1)), "row", names)
    elif kind in CONLL:
        table = Table(shown(path), ("tokens", "tags"), list(read_columns(path)))
    else:
        raise InputError(
            f"--data {shown(path)}: a file of examples ends in {', '.join(KINDS)}, found "
            f"{shown(path.suffix or 'no ending')}; rename or convert it"
        )
    if not table.records:
        raise InputError(f"{shown(path)}: no rows; the file is empty")
    return table


def join_tables(tables: list[Table], source: str) -> Table:
    """One table of the shards of a data set; rows are counted through."""
    if len(tables) == 1:
        return tables[0]
    records = [record for table in tables for _, record in table.records]
    columns = tuple(dict.fromkeys(name for table in tables for name in table.columns))
    return Table(source, columns, list(enumerate(records, 1)), "row", tables[0].names)


def _is_list(path: Path) -> bool:
    """Whether a JSON file is one list; else it holds an object per line."""
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be read: {error.strerror}") from error


def _rows_of_object(path: Path) -> list[Any] | None:
    """``data`` of a file that is one object with such a list, None for an object per line.

    Raises:
      InputError: an object of columns, or one over several lines without such a list.
    """
    lines = (text for _, text in numbered_lines(path))
    first, second = next(lines, "").strip(), next(lines, None)
    spread = first == "{"  # over several lines, as `json.dump` writes with an indent
    if not spread and second is not None:
        return None
    found = read_json(path) if spread else _object(first)
    if not isinstance(found, dict):
        return None
    if found.keys() == {"columns", "index", "data"} or _is_columns(found):
        raise InputError(
            f"{shown(path)} is one object of columns, as pandas' to_json writes by default; write "
            "it with orient='records'"
        )
    if isinstance(found.get("data"), list) and not _ROW & {name.lower() for name in found}:
        return found["data"]
    if spread:
        raise InputError(
            f"{shown(path)} is one object without a list of rows as its data; write a list of "
            "objects, or an object per line"
        )
    return None


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None  # the reader of lines says what is wrong


def _is_columns(found: Record) -> bool:
    """Whether an object has columns of numbered rows, all with equal numbers."""
    columns = [list(c) if isinstance(c, dict) else [] for c in found.values()]
    first = columns[0] if columns else []
    return bool(first) and all(c == first for c in columns) and all(map(str.isdigit, first))


def records_table(path: Path, items: Iterable[Any]) -> Table:
    """Table of a list of JSON objects; `InputError` for an item of another kind."""
    records = list(enumerate(items, 1))
    for number, record in records:
        if not isinstance(record, dict):
            raise InputError(
                f"{shown(path)} row {number}: expected an object, found {shown(repr(record), 40)}"
            )
    return Table(shown(path), _columns(record for _, record in records), records, "row")


def _columns(records: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for record in records for name in record))
