"""Prediction files in the form of a GLUE submission: tab-separated with a header, or jsonl.

    index   prediction
    0       entailment

`index` is the row index in the dev set, from 0; a second part continues the count of the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown, write_text
from mpjax.tasks.reading import read_json_lines, read_tsv

INDEX, PREDICTION = "index", "prediction"


def read_predictions(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Yields index, record and place (file and line); jsonl by suffix, else tab-separated."""
    seen: dict[int, int] = {}  # index: line
    json_lines = path.suffix in (".jsonl", ".json")
    for number, record in read_json_lines(path) if json_lines else read_tsv(path):
        where = f"{path} line {number}"
        for name in (INDEX, PREDICTION):
            if name not in record:
                raise InputError(
                    f"{where}: no {name}, found {shown(', '.join(record) or 'nothing')}; "
                    + ("every object needs" if json_lines else "the first line must name")
                    + f" {INDEX} and {PREDICTION}"
                    + ("" if json_lines else ", separated by a tab")
                )
        index = _index(record[INDEX], where)
        if index in seen:
            raise InputError(f"{where}: index {index} is in line {seen[index]} too; keep one")
        seen[index] = number
        yield index, record, where


def write_predictions(path: Path, predictions: Mapping[int, Any]) -> None:
    """Writes predictions by row index: jsonl by suffix of `path`, else tab-separated."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({INDEX: i, PREDICTION: value}) for i, value in predictions.items()]
    else:
        lines = [f"{INDEX}\t{PREDICTION}", *(f"{i}\t{value}" for i, value in predictions.items())]
    write_text(path, "\n".join(lines) + "\n")


def _index(value: Any, where: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InputError(f"{where}: index must be a row number from 0, found {shown(repr(value))}")
    return int(text)
