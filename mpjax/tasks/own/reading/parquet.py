"""Parquet files, a few rows at a time: some kilobytes of one may hold rows without end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import check_memory, shown
from mpjax.tasks.own.reading.classes import named_classes
from mpjax.tasks.reading import Room

_ROWS = 64  # read at once: a dictionary may repeat one long text
_MOST_TIMES, _ALWAYS = 200, 100_000_000  # times the file, and bytes, that rows may unpack to
_CELL, _RECORD = 60, 250  # bytes of a cell and a record besides their text
_NESTED = 8  # bytes of a list's objects for each byte of its column: short words, and numbers
_TIMES = 4  # bytes of records for each byte of columns

Names = dict[str, tuple[str, ...]]


def read_parquet(path: Path) -> tuple[tuple[str, ...], list[dict[str, Any]], Names]:
    """Columns, records and class names of a file.

    Raises:
      InputError: no parquet file, one that does not fit into memory, or one that unpacks to more
        than two hundred times its size.
    """
    import pyarrow  # here, not above: it takes time to import, and other files need none of it
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            found = file.metadata
            groups = [found.row_group(i) for i in range(found.num_row_groups)]
            unpacked = sum(group.total_byte_size for group in groups)
            _check_unpacked(path, unpacked)
            check_memory(path, _TIMES * unpacked)
            records = [record for rows in _rows(path, file) for record in rows]
            schema = file.schema_arrow
    except (
        OSError,
        pyarrow.ArrowException,
        UnicodeDecodeError,
        ValueError,
        OverflowError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{shown(path)} is not a parquet file: {shown(error)}") from error
    return tuple(schema.names), records, _class_names(schema.metadata or {})


def _rows(path: Path, file: Any) -> Iterator[list[dict[str, Any]]]:
    room, taken = Room(path), 0
    types = str(file.schema_arrow)
    shared = "dictionary<" in types  # texts that several rows point to
    times = _NESTED if "list<" in types or "map<" in types else 1
    for batch in file.iter_batches(batch_size=_ROWS):
        columns = times * batch.nbytes
        _check_unpacked(path, taken + columns)
        records = batch.to_pylist()
        size = max(columns, sum(map(_size, records)) if shared else 0)
        size += batch.num_rows * (_RECORD + _CELL * batch.num_columns)
        taken += size
        _check_unpacked(path, taken)
        room.take(size)
        yield records


def _size(value: Any) -> int:
    """Bytes of the texts in a cell or record, about."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _check_unpacked(path: Path, size: int) -> None:
    packed = path.stat().st_size
    if size > max(_ALWAYS, _MOST_TIMES * packed):
        raise InputError(
            f"{shown(path)} has {packed:,} bytes and unpacks to more than {size / 1e6:,.0f} MB, "
            f"over {_MOST_TIMES} times as much: its rows are copies of each other; leave them out"
        )


def _class_names(metadata: dict[bytes, bytes]) -> Names:
    """Class names that the hub's library has put into a file, {} where they are none."""
    described = metadata.get(b"huggingface")
    if described is None:
        return {}
    try:
        return named_classes(json.loads(described)["info"]["features"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # labels are then the numbers of the file
