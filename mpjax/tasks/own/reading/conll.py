"""CoNLL files: a word a line with its tag in the last column, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.tasks.own.reading.delimited import text_lines

_DOCUMENT = "-DOCSTART-"
_COMMENT = re.compile(r"#\s*[\w.]+\s+=\s")
_BLANKS = re.compile(r"[ \t]+")  # a no-break space belongs to its word


def read_columns(path: Path) -> Iterator[tuple[int, dict[str, list[str]]]]:
    """Sentences as ``tokens`` and ``tags``, each after the number of its first line.

    Columns are separated by blanks or tabs; those between the first and the last are left out, and
    so are lines that mark documents, and comments such as ``# text = Bob``.
    """
    words: list[str] = []
    tags: list[str] = []
    first = 0
    for number, line in enumerate([*text_lines(path), ""], 1):
        cells = [cell for cell in _BLANKS.split(line.rstrip("\r\n")) if cell]
        if _COMMENT.match(line):
            continue
        if cells and cells[0] != _DOCUMENT:
            if len(cells) < 2:
                raise InputError(
                    f"{shown(path)} line {number}: expected a word and its tag, found "
                    f"{shown(repr(line.strip()), 60)}"
                )
            first = first or number
            words.append(cells[0])
            tags.append(cells[-1])
        elif words:
            yield first, {"tokens": words, "tags": tags}
            words, tags, first = [], [], 0
