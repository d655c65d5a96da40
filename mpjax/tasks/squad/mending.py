"""Questions of a file, mended where that is certain.

The place of an answer is certain where its text stands a few characters beside the given one, or
nowhere else in the passage. White space around and within an answer is taken from the passage.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mpjax.files import shown
from mpjax.tasks.base import Row
from mpjax.tasks.squad.faults import Faults

NEAR = 8  # characters by which a start may be off


class Place(NamedTuple):
    """Passage, its place in the file, and a name for a question in it that has no id."""

    context: str
    where: str
    title: str
    unnamed: str


def question(qa: Any, place: Place, faults: Faults, may_be_empty: bool) -> Row | None:
    """Row of a question; None for one that cannot be mended. Its faults are added.

    Args:
      may_be_empty: questions without an answer are allowed (v2).
    """
    number = place.unnamed.rsplit("-", 1)[-1]
    if not isinstance(qa, dict):
        message = f"{place.where} question {number}: expected an object with 'id', found "
        faults.add("questions that are no objects", place.unnamed, f"{message}{str(qa)[:40]!r}")
        return None
    known = qa.get("id")
    where = f"{place.where} question {number if known is None else shown(known)}"
    name = _identity(qa, where, place.unnamed, faults)
    if name is None:
        return None
    text = qa.get("question")
    if not isinstance(text, str):
        said = _missing(qa, "question", "text")
        faults.add("questions without text", name, f"{where}: {said}")
        return None
    answers = _answers(qa, place.context, where, name, faults, may_be_empty)
    if answers is None:
        return None
    return {
        "id": name,
        "title": place.title,
        "context": place.context,
        "question": text,
        "answers": answers,
    }


def _identity(qa: dict[str, Any], where: str, unnamed: str, faults: Faults) -> str | None:
    """Id of a question: numbers become text, missing ones are made of the place in the file."""
    known = qa.get("id")
    if isinstance(known, str):
        return known
    whole = isinstance(known, int) and not isinstance(known, bool)
    kind = "ids that are numbers" if whole else "ids that are missing or no text"
    faults.add(kind, unnamed, f"{where}: {_missing(qa, 'id', 'text')}", mended=True)
    return str(known) if whole else unnamed


def _answers(
    qa: dict[str, Any], context: str, where: str, name: str, faults: Faults, may_be_empty: bool
) -> dict[str, list[Any]] | None:
    given = qa.get("answers")
    if isinstance(given, dict):  # the hub's form
        given = _records(given)
    if not isinstance(given, list):
        certain = may_be_empty and given is None and qa.get("is_impossible") is True
        said = f"{where}: {_missing(qa, 'answers', 'a list')}"
        faults.add("questions without a list of answers", name, said, certain)
        return {"text": [], "answer_start": []} if certain else None
    if not given and not may_be_empty:
        said = f"{where}: no answer; for questions without answers use --task squad_v2"
        faults.add("questions without an answer", name, said)
        return None
    found = [_answer(answer, context, where, name, faults) for answer in given]
    kept = [answer for answer in found if answer is not None]
    if given and not kept:
        return None  # to call it a question without an answer would be a guess
    return {"text": [text for text, _ in kept], "answer_start": [start for _, start in kept]}


def _records(given: dict[str, Any]) -> list[Any] | None:
    """The lists of the hub's form as a list of answers; None if they do not fit together."""
    texts, starts = given.get("text"), given.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return None
    return [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]


def _answer(
    answer: Any, context: str, where: str, name: str, faults: Faults
) -> tuple[str, int] | None:
    """Text and start of an answer, as the passage has them; None where that is not certain."""
    if not isinstance(answer, dict) or not isinstance(answer.get("text"), str):
        said = (
            _missing(answer, "text", "text")
            if isinstance(answer, dict)
            else f"expected an object with 'text', found {str(answer)[:40]!r}"
        )
        faults.add("answers without text", name, f"{where}: {said}")
        return None
    text, given = answer["text"], answer.get("answer_start")
    start = given if isinstance(given, int) and not isinstance(given, bool) else None
    if start is not None and start >= 0 and text and context[start : start + len(text)] == text:
        return text, start
    near = start if start is not None and start >= 0 else None
    if isinstance(given, str) and re.fullmatch(r"[0-9]{1,9}", given.strip()):
        near = int(given)
    found = located(text, near, context)
    if start is None:
        kind = "answers whose start is no number"
        said = f"answer_start must be an integer, found {shown(repr(given))}"
    else:
        beside = context[start : start + len(text)] if start >= 0 else ""
        kind = "answers that are not at their start"
        said = (
            f"the answer {shown(repr(text), 80)} is not at character {start} of the context, which "
            f"has {shown(repr(beside), 80)} there"
        )
    faults.add(kind, name, f"{where}: {said}", mended=found is not None)
    return found


def located(text: str, near: int | None, context: str) -> tuple[str, int] | None:
    """The answer as it stands in the context, and where; None unless one place is certain.

    >>> located("cat", 5, "the cat sat, the cat ran")
    ('cat', 4)
    >>> located("cat", None, "the cat sat, the cat ran") is None
    True
    >>> located(" the  cat", -1, "so the cat sat")
    ('the cat', 3)
    >>> located("ha ha", None, "ha ha ha") is None
    True
    """
    words = text.split()
    if not words:
        return None
    # A look ahead finds places that overlap too.
    pattern = re.compile("(?=(" + r"\s+".join(map(re.escape, words)) + "))")
    found = [(match[1], match.start()) for match in pattern.finditer(context)]
    if near is not None:
        beside = [one for one in found if abs(one[1] - near) <= NEAR]
        nearest = min((abs(start - near) for _, start in beside), default=0)
        beside = [one for one in beside if abs(one[1] - near) == nearest]
        if len(beside) == 1:
            return beside[0]
    return found[0] if len(found) == 1 else None


def _missing(record: dict[str, Any], name: str, kind: str) -> str:
    if name not in record:
        return f"no {name!r}; the keys are {shown(', '.join(map(str, record)) or 'none')}"
    return f"{name!r} must be {kind}, found {str(record[name])[:40]!r}"
