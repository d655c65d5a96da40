"""Answers of questions in cells: texts, and where they begin in the passage."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.tasks.own.cleaning import json_cell
from mpjax.tasks.own.labels import label_text
from mpjax.tasks.squad.mending import located

_WHOLE = re.compile(r"(\d{1,9})(\.0*)?")  # pandas writes 12.0 where other cells are empty


class Answer(NamedTuple):
    """Text of an answer, and the character at which it begins; None if the data do not say."""

    text: str
    start: Any


def cell_answers(value: Any, start: Any, where: str) -> list[Answer]:
    """Answers of a cell: a text, a list of texts, or the forms of SQuAD and of the hub.

    Args:
      value: of the column of answers.
      start: of the column of starts.
      where: for messages.

    Raises:
      InputError: another form.

    >>> cell_answers("the cat", "4.0", "x.csv line 2")
    [Answer(text='the cat', start=4)]
    >>> cell_answers({"text": ["a", "b"], "answer_start": [0, -1]}, None, "row 1")
    [Answer(text='a', start=0), Answer(text='b', start=None)]
    >>> cell_answers(" ", 0, "row 1"), cell_answers({"text": [], "answer_start": []}, None, "row 1")
    ([], [])
    """
    value = _parsed(value, (dict, str))
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict) and item and "text" not in item:
            raise InputError(f"{where}: an answer has no 'text', but {shown(', '.join(item))}")
    if isinstance(value, dict):
        value, start = value.get("text"), value.get("answer_start")
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        start = [item.get("answer_start") for item in value]
        value = [item.get("text") for item in value]
    start = _parsed(start, (int,))
    texts = value if isinstance(value, list) else [value]
    starts = start if isinstance(start, list) else [start] * len(texts)
    if len(starts) != len(texts):
        raise InputError(
            f"{where}: {len(texts)} answers have {len(starts)} starts; give each its own"
        )
    pairs = [(_text(text, where), begin) for text, begin in zip(texts, starts, strict=True)]
    return [Answer(text, _start(begin)) for text, begin in pairs if text]


def placed(answers: list[Answer], context: str) -> list[Answer]:
    """Answers with their starts; those without one and without one certain place are left out.

    >>> placed([Answer("cat", None), Answer("the", None), Answer("sat", 8)], "the cat sat, the")
    [Answer(text='cat', start=4), Answer(text='sat', start=8)]
    """
    found = []
    for answer in answers:
        place = located(answer.text, None, context) if answer.start is None else answer
        found += [] if place is None else [Answer(*place)]
    return found


def _text(value: Any, where: str) -> str:
    if isinstance(value, str):
        return value if value.strip() else ""
    if value is None or isinstance(value, int | float):
        return label_text(value) or ""
    raise InputError(
        f"{where}: an answer must be text, a list of texts, or text and answer_start as SQuAD has "
        f"them, found {shown(repr(value), 60)}; name the column of the answers with --label"
    )


def _start(value: Any) -> Any:
    """Index of a character; None where the cell is empty or negative; other values as they are."""
    if isinstance(value, str | float):
        match = _WHOLE.fullmatch(str(value).strip())
        return int(match[1]) if match else None if label_text(value) in (None, "-1") else value
    return None if value == -1 else value


def _parsed(value: Any, kinds: tuple[type, ...]) -> Any:
    """Value of a cell that holds JSON, as SQuAD's answers do in a csv file; items are of kinds."""
    found = json_cell(value)
    fits = isinstance(found, list) and all(isinstance(item, kinds) for item in found)
    return found if fits or isinstance(found, dict) else value
