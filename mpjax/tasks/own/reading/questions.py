"""Files of questions: SQuAD's nested JSON, or a record for each question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpjax.files import read_json, shown
from mpjax.tasks.own.reading.tables import Table, read_table, records_table
from mpjax.tasks.reading import numbered_lines
from mpjax.tasks.squad.files import read_questions

QUESTION = "question"  # unit of places in a nested file
_COLUMNS = ("id", "title", "context", QUESTION, "answers")


def read_question_table(path: Path) -> Table:
    """Table of a file: nested JSON as `read_questions` takes it, else as `read_table`.

    An object whose ``data`` are flat records, as scripts of `transformers` read it, is a table too.
    """
    return _read(path, repair=False)


def mended_question_table(path: Path) -> Table:
    """`read_question_table` that mends faults of nested JSON, or leaves the questions out."""
    return _read(path, repair=True)


def _read(path: Path, repair: bool) -> Table:
    if path.suffix.lower() != ".json" or not _is_document(path):
        return read_table(path)
    data = _data(read_json(path))
    if data and isinstance(data[0], dict) and "paragraphs" not in data[0]:
        return records_table(path, data)
    rows = read_questions(path, may_be_empty=True, repair=repair)
    return Table(shown(path), _COLUMNS, list(enumerate(rows, 1)), QUESTION)


def _data(document: Any) -> list[Any]:
    data = document.get("data") if isinstance(document, dict) else None
    return data if isinstance(data, list) else []


def _is_document(path: Path) -> bool:
    """Whether a file is one object, not a list and not an object per line."""
    first = next((text for _, text in numbered_lines(path)), "").strip()
    if not first.startswith("{"):
        return not first.startswith("[")
    try:
        return "data" in json.loads(first)
    except (ValueError, RecursionError):
        return True
