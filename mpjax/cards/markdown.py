"""Markdown of text that may come from anyone."""

from __future__ import annotations

from collections.abc import Sequence

from mpjax.files import shown


def code(value: object) -> str:
    """Value in backticks, one printable line that can begin no markup.

    >>> code("a`b|c")
    "`a'b/c`"
    """
    return "`" + shown(value).replace("`", "'").replace("|", "/").replace("<!--", "<! --") + "`"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Markdown table: the first ``left`` columns aligned to the left, the others to the right.

    >>> print(table(["layer", "kept"], [["0", "9.5%"]]))
    | layer | kept |
    |:--|--:|
    | 0 | 9.5% |
    """
    rule = "|" + "|".join(":--" if i < left else "--:" for i in range(len(header))) + "|"
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]])
