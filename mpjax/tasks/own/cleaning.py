"""Cells of text: what is read as text, what is dropped, and what is said about it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.own.labels import label_text
from mpjax.tasks.own.places import places
from mpjax.tasks.own.reading.tables import Record, Table


@dataclass(frozen=True)
class Example:
    """A usable record: its number, its texts, and the value of its label column."""

    number: int
    texts: tuple[str, ...]
    label: Any


@lru_cache(maxsize=4)  # a run asks for the labels, the training rows and the dev rows of a table
def clean(
    table: Table, texts: tuple[str, ...], label: str, declared: tuple[str, ...] = ()
) -> tuple[Example, ...]:
    """Examples with text and label; the others are dropped, counted and said.

    Args:
      texts: columns of text; an example needs all.
      label: column of the label.
      declared: names of classes, as in `label_text`.

    Raises:
      InputError: a cell that is no text, or no row left.
    """
    kept: list[Example] = []
    empty: list[int] = []
    unlabelled: list[int] = []
    numbers: list[int] = []
    for number, record in table.records:
        cells = [text_cell(record, name, table.where(number)) for name in texts]
        if isinstance(record.get(label), list | dict | bytes):
            raise InputError(
                f"{table.where(number)}: {label} is {shown(repr(record[label]), 60)}, but a row "
                "has one label; write one row for each, or name another column with --label"
            )
        if not all(text for text, _ in cells):
            empty.append(number)
        elif label_text(record.get(label), declared) is None:
            unlabelled.append(number)
        else:
            kept.append(Example(number, tuple(text for text, _ in cells), record[label]))
            numbers += [number] if any(other for _, other in cells) else []
    for rows, what in ((empty, "empty text"), (unlabelled, "no label")):
        if rows:
            log.warning("%s: %s dropped: %s", table.source, places(rows, table.unit), what)
    if numbers:
        log.warning(
            "%s: numbers where text is expected are read as text: %s",
            table.source, places(numbers, table.unit),
        )  # fmt: skip
    if not kept:
        raise InputError(
            f"{table.source}: none of {len(table.records)} rows has both text in "
            f"{shown(', '.join(texts))} and a label in {shown(label)}; check --text and --label"
        )
    return tuple(kept)


def note_repeats(
    train: Iterable[tuple[Any, Any]],
    dev: Iterable[tuple[Any, Any]],
    name: str,
    kinds: tuple[str, str] = ("texts", "labels"),
) -> None:
    """Notes texts that have several labels, and dev texts that are among the training texts.

    Args:
      train: text and label of each row; dev likewise.
      name: of the data.
      kinds: names of texts and labels, for messages.
    """
    labels: defaultdict[Any, set[Any]] = defaultdict(set)
    rows: Counter[Any] = Counter()
    for text, label in train:
        labels[text].add(label)
        rows[text] += 1
    torn = [text for text, found in labels.items() if len(found) > 1]
    if torn:
        log.warning(
            "%s: equal %s with different %s among the training rows: %d (in %d rows)",
            name, kinds[0], kinds[1], len(torn), sum(rows[text] for text in torn),
        )  # fmt: skip
    both = sum(text in rows for text, _ in dev)
    if both:
        log.warning(
            "%s: dev rows that are training rows too, word for word: %d; their score says little",
            name, both,
        )  # fmt: skip


def json_cell(value: Any) -> list[Any] | dict[str, Any] | None:
    """List or object that a cell holds as JSON text; None for any other cell.

    >>> json_cell('["a", "b"]'), json_cell("[ a ]"), json_cell(["a"])
    (['a', 'b'], None, None)
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def text_cell(record: Record, name: str, where: str) -> tuple[str, bool]:
    """Text of a cell, empty for none, and whether the cell holds a number; else `InputError`."""
    value = record.get(name)
    if isinstance(value, str):
        return (value if value.strip() else ""), False
    if label_text(value) is None:
        return "", False
    if isinstance(value, int | float):
        return str(value), True
    raise InputError(
        f"{where}: {shown(name)} must be text, found {shown(repr(value), 60)}; name the column of "
        "the text with --text"
    )
