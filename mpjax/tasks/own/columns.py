"""Columns of text and labels: as the user names them, or the one obvious choice."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log

# Usual names, single texts and pairs; a column is taken for obvious if no other has such a name.
TEXTS = (
    ("text",), ("sentence",), ("review",), ("comment",), ("content",), ("message",), ("tweet",),
    ("document",), ("utterance",), ("premise", "hypothesis"), ("sentence1", "sentence2"),
    ("question1", "question2"), ("text1", "text2"),
)  # fmt: skip
WORDS = (("tokens",), ("words",), ("text",), ("sentence",))
LABELS = (
    ("label",), ("labels",), ("class",), ("category",), ("target",), ("sentiment",), ("stars",),
    ("rating",), ("score",), ("gold_label",),
)  # fmt: skip
TAGS = (("ner_tags",), ("tags",), ("labels",), ("label",), ("pos_tags",), ("ner",))
PASSAGES = (
    ("context", "question"), ("passage", "question"), ("paragraph", "question"),
    ("document", "question"), ("text", "question"), ("context", "query"),
)  # fmt: skip
ANSWERS = (("answers",), ("answer",), ("answer_text",), ("answers.text",))
STARTS = ("answer_start", "answers.answer_start")
Usual = Sequence[tuple[str, ...]]


def choose_columns(
    asked: str | None, usual: Usual, columns: Sequence[str], option: str, source: str, most: int
) -> tuple[str, ...]:
    """Names of columns: those asked for, or the only ones of a usual name, which is said.

    Args:
      asked: value of the option, names with commas between them.
      usual: names that are obvious.
      columns: those that there are.
      option: for messages.
      source: for messages.
      most: number of columns that the option takes.

    Raises:
      InputError: a name that there is not, too many names, or none or several obvious ones.

    >>> choose_columns("a,b", (), ("a", "b", "c"), "--text", "x.csv", most=2)
    ('a', 'b')
    """
    if asked is not None:
        names = _split(asked, columns)
        for name in names:
            if name not in columns:
                raise InputError(_missing(name, columns, option, source))
        if len(names) > most or len(set(names)) != len(names):
            raise InputError(
                f"{option} {shown(asked)} names {len(names)} columns; give "
                + ("one" if most == 1 else f"one to {most} different ones")
            )
        return names
    lower = {name.lower(): name for name in columns}
    found = [names for names in usual if all(name in lower for name in names)]
    if len(found) != 1:
        several = "several could be meant" if found else "none has a usual name"
        raise InputError(
            f"{option} is missing: the columns of {source} are {_listed(columns)}, and {several}; "
            f"name the column"
        )
    names = tuple(lower[name] for name in found[0])
    log.info("%s: %s %s", source, option, ",".join(names))
    return names


def check_columns(wanted: Sequence[str], columns: Sequence[str], source: str) -> None:
    """Raises `InputError` unless a further file has the columns of the first."""
    for name in wanted:
        if name not in columns:
            raise InputError(_missing(name, columns, "column", source))


def _split(asked: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Names between commas; one name where a column is called so."""
    whole = asked.strip()
    return (whole,) if whole in columns else tuple(part.strip() for part in asked.split(","))


def _missing(name: str, columns: Sequence[str], option: str, source: str) -> str:
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in columns], n=1)
    meant = next((c for c in columns if near and c.lower() == near[0]), None)
    hint = f"; did you mean {shown(meant)}?" if meant else ""
    return (
        f"{option} {shown(name)}: {source} has no such column, its columns are "
        f"{_listed(columns)}{hint}"
    )


def _listed(columns: Sequence[str]) -> str:
    return shown(", ".join(columns), 400) or "none"
