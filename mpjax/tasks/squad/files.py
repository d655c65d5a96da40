"""SQuAD files, v1.1 and v2.0, and prediction files in the layout of the official tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import read_json, read_object, shown, write_text
from mpjax.tasks.base import Row
from mpjax.tasks.squad.faults import Faults
from mpjax.tasks.squad.mending import Place, question

NBEST, NULL_ODDS = "nbest_", "null_odds_"  # prefixes of the files beside predictions
_SHOWN = 80  # characters of a text in a message, which may quote three


def read_questions(path: Path, may_be_empty: bool, repair: bool = False) -> list[Row]:
    """Questions of an official JSON file, in file order and the hub's layout.

    A row is ``{"id", "title", "context", "question", "answers": {"text": [...],
    "answer_start": [...]}}``. Both lists are empty for a question without an answer.

    Args:
      may_be_empty: allow questions without an answer (v2).
      repair: mend faults where that is certain, leave out other faulty questions, and count both.

    Raises:
      InputError: a file of another form; without ``repair``, all faults of its records.
    """
    faults, rows = Faults(str(path)), []
    for a, article in enumerate(_list(read_json(path), "data", f"{path}")):
        place = f"{path} article {a}"
        title = article.get("title", "") if isinstance(article, dict) else ""
        if isinstance(article, dict) and "title" in article:
            place += f" ({shown(repr(title), _SHOWN)})"
        for p, paragraph in enumerate(_list(article, "paragraphs", place)):
            where = f"{place} paragraph {p}"
            try:
                context, qas = _text(paragraph, "context", where), _list(paragraph, "qas", where)
            except InputError as error:
                faults.add("paragraphs without passage or questions", f"{a}-{p}", str(error))
                continue
            for q, qa in enumerate(qas):
                at = Place(context, where, str(title), f"{a}-{p}-{q}")
                rows.append(question(qa, at, faults, may_be_empty))
    return settled(rows, faults, repair)


def check_rows(rows: Sequence[Row], source: str, may_be_empty: bool, repair: bool) -> list[Row]:
    """Rows of the hub; faults as in `read_questions`."""
    faults, found = Faults(source), []
    for i, row in enumerate(rows):
        place = Place(str(row.get("context", "")), source, str(row.get("title", "")), f"row-{i}")
        found.append(question(row, place, faults, may_be_empty))
    return settled(found, faults, repair)


def read_odds(path: Path) -> tuple[dict[str, str], dict[str, float]] | None:
    """Best texts of the passage and null odds, from the files beside predictions; None without.

    Raises:
      InputError: a file of another form.
    """
    texts, odds = (path.with_name(prefix + path.name) for prefix in (NBEST, NULL_ODDS))
    if not (texts.is_file() and odds.is_file()):
        return None
    answers = {}
    for name, entries in read_object(texts).items():
        listed = isinstance(entries, list) and all(isinstance(e, dict) for e in entries)
        if not listed or not all(isinstance(e.get("text"), str) for e in entries):
            raise InputError(f"{texts} question {shown(name)}: expected a list of texts")
        answers[name] = next((e["text"] for e in entries if e["text"]), "")
    found = read_object(odds)
    wrong = [name for name, value in found.items() if type(value) not in (int, float)]
    if wrong:
        raise InputError(f"{odds} question {shown(wrong[0])}: the null odds are no number")
    return answers, found


def settled(rows: Sequence[Row | None], faults: Faults, repair: bool) -> list[Row]:
    """Rows with ids of their own, after faults were said or refused; `InputError` without any."""
    found: dict[str, Row] = {}
    for row in rows:
        if row is not None and row["id"] in found:
            said = f"{faults.source} question {shown(row['id'])}: this id is used twice"
            faults.add("ids used twice", row["id"], said)
        elif row is not None:
            found[row["id"]] = row
    faults.settle(repair, len(found))
    if not found:
        raise InputError(f"{faults.source}: no questions")
    return list(found.values())


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
