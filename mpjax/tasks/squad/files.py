"""SQuAD files, v1.1 and v2.0, and prediction files in the layout of the official tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import read_json, shown, write_text
from mpjax.tasks.base import Row

NBEST, NULL_ODDS = "nbest_", "null_odds_"  # prefixes of the files beside predictions
_SHOWN = 80  # characters of a text in a message, which may quote three


def read_questions(path: Path, may_be_empty: bool) -> list[Row]:
    """Questions of an official JSON file, in file order and the hub's layout.

    A row is ``{"id", "title", "context", "question", "answers": {"text": [...],
    "answer_start": [...]}}``. Both lists are empty for a question without an answer.

    Args:
      may_be_empty: allow questions without an answer (v2).

    Raises:
      InputError: a malformed record, or an answer that is not at its place in the context.
    """
    document = read_json(path)
    rows: list[Row] = []
    seen: set[str] = set()
    for a, article in enumerate(_list(document, "data", f"{path}")):
        place = f"{path} article {a}"
        if isinstance(article, dict) and "title" in article:
            place += f" ({shown(repr(article['title']), _SHOWN)})"
        for p, paragraph in enumerate(_list(article, "paragraphs", place)):
            where = f"{place} paragraph {p}"
            context = _text(paragraph, "context", where)
            for q, qa in enumerate(_list(paragraph, "qas", where)):
                known = qa.get("id") if isinstance(qa, dict) else None
                here = f"{where} question {q if known is None else shown(known)}"
                identity = _text(qa, "id", here)
                if identity in seen:
                    raise InputError(f"{here}: this id is used twice")
                seen.add(identity)
                row = {
                    "id": identity,
                    "title": str(article.get("title", "")),
                    "context": context,
                    "question": _text(qa, "question", here),
                    "answers": _answers(qa, context, here),
                }
                check_answers(row, here, may_be_empty)
                rows.append(row)
    if not rows:
        raise InputError(f"{path}: no questions")
    return rows


def check_answers(row: Row, where: str, may_be_empty: bool) -> None:
    """Raises `InputError` unless answers exist and each is at its place in the context."""
    answers = row["answers"]
    if not answers["text"] and not may_be_empty:
        raise InputError(f"{where}: no answer; for questions without answers use --task squad_v2")
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        found = row["context"][start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise InputError(
                f"{where}: the answer {shown(repr(text), _SHOWN)} is not at character {start} of "
                f"the context, which has {shown(repr(found), _SHOWN)} there"
            )


def write_predictions(
    path: Path,
    predictions: Mapping[str, str],
    nbest: Mapping[str, Sequence[Mapping[str, Any]]],
    null_odds: Mapping[str, float] | None = None,
) -> None:
    """Writes beside `path` ``nbest_<name>`` and, for v2, ``null_odds_<name>``, and `path` last."""
    contents: dict[str, Any] = {} if null_odds is None else {NULL_ODDS: null_odds}
    for prefix, content in {**contents, NBEST: nbest, "": predictions}.items():
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_text(path.with_name(prefix + path.name), text + "\n")


def read_predictions(path: Path) -> dict[str, str]:
    """Predictions of a ``predictions.json``: question id to answer text, empty for no answer."""
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(
            f"{path}: expected an object of question id to answer text, "
            f"found {type(document).__name__}; give the predictions.json of the official tools"
        )
    for identity, text in document.items():
        if not isinstance(text, str):
            raise InputError(
                f"{path} question {shown(identity)}: the answer is not text: {str(text)[:40]!r}; "
                'every question has one answer, "" for none'
            )
    return document


def _answers(qa: dict[str, Any], context: str, where: str) -> dict[str, list[Any]]:
    texts, starts = [], []
    for answer in _list(qa, "answers", where):
        texts.append(_text(answer, "text", where))
        start = answer.get("answer_start")
        if not isinstance(start, int) or isinstance(start, bool):
            raise InputError(
                f"{where}: answer_start must be an integer, found {shown(repr(start))}"
            )
        starts.append(start)
    return {"text": texts, "answer_start": starts}


def _list(record: Any, name: str, where: str) -> list[Any]:
    return _get(record, name, list, "a list", where)


def _text(record: Any, name: str, where: str) -> str:
    return _get(record, name, str, "text", where)


def _get(record: Any, name: str, kind: type, said: str, where: str) -> Any:
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected an object with {name!r}, found {str(record)[:40]!r}")
    if name not in record:
        raise InputError(f"{where}: no {name!r}; the keys are {shown(', '.join(record) or 'none')}")
    if not isinstance(record[name], kind):
        raise InputError(f"{where}: {name!r} must be {said}, found {str(record[name])[:40]!r}")
    return record[name]
