"""Small labelled files, written by hand."""

import csv
import json
from pathlib import Path

from mpjax.tasks import demo
from mpjax.tasks.base import DataOptions
from mpjax.tasks.demo import stories as demo_stories
from mpjax.tasks.seeds import Dice

STARS = ("awful", "bad", "fair", "good", "superb")


def sentences(n, stream=0):
    """Different sentences of the toy language."""
    found = dict.fromkeys(demo.sentiment(Dice(7, stream, i))["sentence"] for i in range(4 * n))
    return list(found)[:n]


def write_csv(path: Path, header, rows, **style) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, **style).writerows([header, *rows])
    return path


def write_lines(path: Path, records) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def reviews(path: Path, n=60, labels=STARS) -> Path:
    rows = [[i, text, labels[i % len(labels)]] for i, text in enumerate(sentences(n))]
    return write_csv(path, ["id", "review", "stars"], rows)


def asked(**changes):
    """Options of a training run."""
    return DataOptions(**{"dev_share": 0.1, **changes})


def stories(n, unanswered=0):
    """Questions about different passages of the toy language; the last ones have no answer."""
    rows: dict[str, dict] = {}
    for i in range(9 * n):
        row = demo_stories.question(Dice(7, 1, i))
        rows.setdefault(row["context"], row)
    found = list(rows.values())[:n]
    for row in found[n - unanswered :]:
        row["answers"] = {"text": [], "answer_start": []}
    return [{"id": f"q{i}", **row} for i, row in enumerate(found)]


def squad(path: Path, rows) -> Path:
    """The questions in SQuAD's nested form, each an article of its own."""
    articles = []
    for row in rows:
        answers = [
            {"text": text, "answer_start": start}
            for text, start in zip(*row["answers"].values(), strict=True)
        ]
        qa = {"id": row["id"], "question": row["question"], "answers": answers}
        paragraph = {"context": row["context"], "qas": [qa]}
        articles.append({"title": row["title"], "paragraphs": [paragraph]})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "1", "data": articles}))
    return path
