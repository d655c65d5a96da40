"""Damage to tables and option files that leaves their format whole."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from typing import Any

import pyarrow
import pyarrow.parquet

from experiments.reliability.mutations import TEXTS, spoil_bytes, spoil_json

_CELLS: tuple[str, ...] = (
    *(text.decode("utf-8", "replace") for text in TEXTS), "1e-400", "0x10", "1,5", "٣", "true",
    "None", "-0.0", "inf", "[]", "{}", '["a", 1]', '{"text": []}', '{"text": ["a"]}', "[" * 9_000,
    '{"text": "a", "answer_start": 1e400}', "a\nb", "=1+1", "\u200b", "\U0001f600", "LABEL_0",
)  # fmt: skip


def spoil_cells(rng: random.Random, data: bytes) -> bytes:
    """One to three cells, rows or columns of a csv or tsv file changed; quotes are right."""
    text = data.decode()
    delimiter = max(",;\t", key=text.splitlines()[0].count)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change_rows(rng, rows)
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return made.getvalue().encode("utf-8", "surrogatepass")


def spoil_columns(rng: random.Random, data: bytes) -> bytes:
    """A column of a parquet file renamed, given another type, or grown; the file is sound.

    Some files of a few kilobytes hold millions of rows, or a long text a thousand times.
    """
    table = pyarrow.parquet.read_table(io.BytesIO(data))
    at = rng.randrange(table.num_columns)
    name = table.column_names[at]
    table = rng.choice(_TABLES)(rng, table, at, name)
    made = io.BytesIO()
    compression = rng.choice(("snappy", "zstd", "gzip", "none"))
    pyarrow.parquet.write_table(table, made, compression=compression)
    return made.getvalue()


def spoil_footer(rng: random.Random, data: bytes) -> bytes:
    """Bytes of a parquet file's footer, which says its sizes and types; its length stays right."""
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    footer = spoil_bytes(rng, data[start:-8])
    return data[:start] + footer + len(footer).to_bytes(4, "little") + data[-4:]


def spoil_yaml(rng: random.Random, data: bytes) -> bytes:
    """A line of a YAML file taken out, repeated, or given another value."""
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    name, _, _ = lines[at].partition(":")
    choice = rng.random()
    if choice < 0.1:
        del lines[at]
    elif choice < 0.2:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif choice < 0.8:
        lines[at] = f"{name}: {rng.choice(_YAML)}"
    else:
        lines[at] = f"{rng.choice(_YAML)}: 1"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


_YAML: tuple[str, ...] = (
    "", "~", "true", "no", "2:4", "3e-5", ".inf", "-.nan", "0o17", "9" * 5_000, "1e400", "[]",
    "[1, a]", "{a: b}", "&a 1", "*a", "!!python/object:os.system x", "!!binary aGk=", "!x y", "'",
    "2026-01-01", '"', '"\\ud800"', "|", ">", "- a", "[" * 3_000, "{a: " * 2_000, "\t", "\0", "@",
    "--density", "config", "help", "density", "Density", "? a", "<<", "---", "%YAML 9.9", "`",
    "\u2028", "a\n b", "<<: {a: 1}", "-1", "0", "1", "0.5", "[0.1, 0.2]", "movement", "v5e:4x4",
    "x" * 9_000,
)  # fmt: skip


def spoil_card(rng: random.Random, data: bytes) -> bytes:
    """A line of a card's front matter changed, or bytes anywhere."""
    start, end = data.index(b"---\n") + 4, data.index(b"\n---\n", 4)
    if rng.random() < 0.3:
        return spoil_bytes(rng, data)
    return data[:start] + spoil_yaml(rng, data[start:end]) + data[end:]


def _change_rows(rng: random.Random, rows: list[list[str]]) -> None:
    row, choice = rng.choice(rows) if rows else [], rng.random()
    if not row:
        rows.append([rng.choice(_CELLS)])
    elif choice < 0.55:
        row[rng.randrange(len(row))] = rng.choice(_CELLS)
    elif choice < 0.65:
        rows[0][rng.randrange(len(rows[0]))] = rng.choice((*rows[0], *_CELLS, "text", "label"))
    elif choice < 0.75:
        at, value = rng.randrange(len(rows[0])), rng.choice(_CELLS)
        for other in rows[1:]:
            other[at : at + 1] = [value]
    elif choice < 0.85:
        row.insert(rng.randrange(len(row) + 1), rng.choice(_CELLS))
    elif choice < 0.95:
        del row[rng.randrange(len(row))]
    else:
        del rows[rng.randrange(len(rows)) :]


def _renamed(rng: random.Random, table: Any, at: int, name: str) -> Any:
    names = list(table.column_names)
    names[at] = rng.choice((*_CELLS, *names, "text", "label", "tokens", "context"))
    return table.rename_columns(names)


def _retyped(rng: random.Random, table: Any, at: int, name: str) -> Any:
    n = table.num_rows
    columns: tuple[Callable[[], Any], ...] = (
        lambda: pyarrow.nulls(n),
        lambda: pyarrow.array([b"\xff\xfe"] * n, pyarrow.binary()),
        lambda: pyarrow.array([[[["a"]]]] * n),
        lambda: pyarrow.array([{"text": ["a"], "answer_start": [2**40]}] * n),
        lambda: pyarrow.array([2**62] * n, pyarrow.timestamp("ns")),
        lambda: pyarrow.array([-(2**50)] * n, pyarrow.timestamp("s", "Mars/Base")),
        lambda: pyarrow.array([2**31 - 1] * n, pyarrow.date32()),
        lambda: pyarrow.array([float("nan")] * n),
        lambda: pyarrow.array([10**37] * n, pyarrow.decimal128(38, 0)),
        lambda: pyarrow.array([rng.choice(_CELLS) for _ in range(n)]),
        lambda: pyarrow.array([rng.choice(_CELLS)] * n).dictionary_encode(),
        lambda: pyarrow.array([[("a", 1), ("a", 2)]] * n, pyarrow.map_("string", "int64")),
        lambda: pyarrow.array([2**62] * n, pyarrow.duration("ns")),
        lambda: pyarrow.array([True, None] * (n // 2)),
    )
    return table.set_column(at, name, rng.choice(columns)())


def _described(rng: random.Random, table: Any, at: int, name: str) -> Any:
    known = (table.schema.metadata or {}).get(b"huggingface", b'{"info": {"features": {}}}')
    return table.replace_schema_metadata({b"huggingface": spoil_json(rng, known)})


def _repeated(rng: random.Random, table: Any, at: int, name: str) -> Any:
    """Many copies of one row, which take a few kilobytes."""
    count = rng.choice((50_000, 150_000))
    return table.slice(0, 1).take(pyarrow.nulls(count, "int32").fill_null(0))


def _swollen(rng: random.Random, table: Any, at: int, name: str) -> Any:
    """A text of a megabyte in thousands of rows, kept once in the file."""
    count = rng.choice((600, 1_500))
    ones = pyarrow.nulls(count, "int32").fill_null(0)
    text = pyarrow.DictionaryArray.from_arrays(ones, pyarrow.array(["x" * 1_000_000]))
    return table.slice(0, 1).take(ones).set_column(at, name, text)


def _cut(rng: random.Random, table: Any, at: int, name: str) -> Any:
    return rng.choice((table.slice(0, 0), table.slice(0, 1), table.remove_column(at)))


_TABLES = (_renamed, _renamed, *[_retyped] * 6, _described, _described, _cut, _repeated, _swollen)
