"""Prediction files in the form of a GLUE submission: a tsv with a header, or the same as jsonl.

    index   prediction
    0       entailment

`index` counts the rows of the dev set from 0, through both parts of a dev set that has two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.tasks import reading as files

INDEX, PREDICTION = "index", "prediction"


def read_predictions(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Records with their index and where they stand; jsonl by its suffix, else tab-separated."""
    seen: dict[int, int] = {}  # index: line
    json_lines = path.suffix in (".jsonl", ".json")
    for number, record in files.json_lines(path) if json_lines else files.tsv(path):
        where = f"{path} line {number}"
        for name in (INDEX, PREDICTION):
            if name not in record:
                raise InputError(
                    f"{where}: no {name}, found {', '.join(record) or 'nothing'}; "
                    + ("every object needs both" if json_lines else "the first line should name")
                    + f" {INDEX} and {PREDICTION}"
                    + ("" if json_lines else ", separated by a tab")
                )
        index = _index(record[INDEX], where)
        if index in seen:
            raise InputError(f"{where}: index {index} is in line {seen[index]} too; keep one")
        seen[index] = number
        yield index, record, where


def write_predictions(path: Path, predictions: Mapping[int, Any]) -> None:
    """Writes predictions by row number: jsonl by the suffix of `path`, else tab-separated."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({INDEX: i, PREDICTION: value}) for i, value in predictions.items()]
    else:
        lines = [f"{INDEX}\t{PREDICTION}", *(f"{i}\t{value}" for i, value in predictions.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _index(value: Any, where: str) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()):
        raise InputError(f"{where}: index should be a row number from 0, found {value!r}")
    return int(text)
