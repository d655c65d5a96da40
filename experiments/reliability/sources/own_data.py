"""Own data of every task in every kind of file, and predictions for them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from mpjax.tasks import demo
from mpjax.tasks.demo import stories
from mpjax.tasks.seeds import Dice

Records = Sequence[dict[str, Any]]
_ROWS = 12
_TAGS = ("O", "B-PER", "I-PER", "B-LOC")


def classification(folder: Path, root: Path) -> None:
    """Texts with a class by name, by number, and pairs of texts."""
    del root
    named = [{"text": t, "label": ("good", "bad")[i % 2]} for i, t in enumerate(_texts())]
    _write_delimited(folder / "commas.csv", named, ",")
    _write_delimited(folder / "semicolons.csv", named, ";")
    _write_delimited(folder / "tabs.tsv", [{"id": i, **row} for i, row in enumerate(named)], "\t")
    _write_lines(folder / "lines.jsonl", [{**row, "label": i % 3} for i, row in enumerate(named)])
    pairs = [{"premise": r["text"], "hypothesis": "a cat", "label": r["label"]} for r in named]
    (folder / "list.json").write_text(json.dumps(pairs))


def regression(folder: Path, root: Path) -> None:
    """Texts with a value."""
    del root
    rows = [{"text": text, "score": i / 4} for i, text in enumerate(_texts())]
    _write_delimited(folder / "commas.csv", rows, ",")
    _write_lines(folder / "lines.jsonl", rows)
    (folder / "list.json").write_text(json.dumps(rows))


def tokens(folder: Path, root: Path) -> None:
    """Words with a tag each, as columns, lists and text with blanks."""
    del root
    rows = _tagged()
    columns = "\n".join(
        "".join(f"{word}\tX\t{tag}\n" for word, tag in zip(r["tokens"], r["tags"], strict=True))
        for r in rows
    )
    (folder / "columns.conll").write_text("-DOCSTART-\tX\tO\n\n" + columns)
    _write_lines(folder / "lines.jsonl", rows)
    joined = [{name: " ".join(cell) for name, cell in row.items()} for row in rows]
    _write_delimited(folder / "commas.csv", joined, ",")


def qa(folder: Path, root: Path) -> None:
    """Questions as a table, as records of the hub's form, and nested as SQuAD's."""
    del root
    rows = _asked()
    flat = [
        {"context": r["context"], "question": r["question"], "answer": r["answers"]["text"][0],
         "answer_start": r["answers"]["answer_start"][0]}
        for r in rows
    ]  # fmt: skip
    _write_delimited(folder / "commas.csv", flat, ",")
    _write_lines(folder / "lines.jsonl", rows)
    (folder / "list.json").write_text(json.dumps({"data": rows}))
    qas = [
        {"id": f"q{i}", "question": row["question"],
         "answers": [{"text": text, "answer_start": start} for text, start in
                     zip(*row["answers"].values(), strict=True)]}
        for i, row in enumerate(rows)
    ]  # fmt: skip
    paragraphs = [
        {"context": row["context"], "qas": [qa]} for row, qa in zip(rows, qas, strict=True)
    ]
    (folder / "nested.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


def parquet(folder: Path, root: Path) -> None:
    """A parquet file of each task, one with class names of the hub."""
    del root
    texts = _texts()
    labels = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    described = {"huggingface": json.dumps({"info": {"features": labels}})}
    classes = pyarrow.table({"text": texts, "label": [i % 2 for i in range(len(texts))]})
    tables = {
        "classification": classes.replace_schema_metadata(described),
        "regression": pyarrow.table({"text": texts, "score": [i / 4 for i in range(len(texts))]}),
        "tokens": pyarrow.Table.from_pylist(_tagged()),
        "qa": pyarrow.Table.from_pylist(_asked()),
    }
    for name, table in tables.items():
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")


def predictions(folder: Path, root: Path) -> None:
    """Data of each task beside predictions for it."""
    for make in (classification, regression, tokens, qa):
        (own := folder / make.__name__).mkdir()
        make(own, root)
    classes = [{"index": i, "prediction": ("good", "bad")[i % 2]} for i in range(_ROWS)]
    values = [{"index": i, "prediction": i / 4} for i in range(_ROWS)]
    tags = [{"index": i, "prediction": row["tags"]} for i, row in enumerate(_tagged())]
    _write_delimited(folder / "classification.tsv", classes, "\t")
    _write_lines(folder / "classification.jsonl", classes)
    _write_delimited(folder / "regression.tsv", values, "\t")
    _write_lines(folder / "tokens.jsonl", tags)
    (folder / "qa.json").write_text(json.dumps({f"q{i}": "cat" for i in range(_ROWS)}))


def _texts() -> list[str]:
    return [demo.sentiment(Dice(7, 0, i))["sentence"] for i in range(_ROWS)]


def _tagged() -> list[dict[str, list[str]]]:
    words = [text.split() for text in _texts()]
    return [{"tokens": w, "tags": [_TAGS[j % len(_TAGS)] for j in range(len(w))]} for w in words]


def _asked() -> list[dict[str, Any]]:
    rows = [stories.question(Dice(5, 0, i)) for i in range(_ROWS)]
    return [{name: row[name] for name in ("context", "question", "answers")} for row in rows]


def _write_lines(path: Path, rows: Records) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_delimited(path: Path, rows: Records, delimiter: str) -> None:
    made = io.StringIO()
    writer = csv.DictWriter(made, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(made.getvalue())
