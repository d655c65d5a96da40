"""Records without the paths of the machine that made them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

# A path inside a longer text: from a slash (or ~/, or a drive) at a word's begin to the word's end.
# The two slashes of a network address begin none.
_PATH = re.compile(r"(?<![\w./~\\-])(?:file://(?=/)|~?/(?!/)|[A-Za-z]:\\)[^\s'\",;:)\]]+")


def without_paths(value: Any) -> Any:
    """JSON values with every path of this machine replaced by its base name.

    >>> without_paths(["/opt/venv/bin/mpjax", "--data=/data/my files/dev.json", "org/bert", "a/b"])
    ['mpjax', '--data=dev.json', 'org/bert', 'a/b']
    """
    if isinstance(value, dict):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    return _text(value) if isinstance(value, str) else value


def is_path(text: str) -> bool:
    """Whether a whole text is a path that is valid on one machine only.

    >>> is_path("/data/glue"), is_path("google-bert/bert-base-uncased")
    (True, False)
    """
    return (
        PurePosixPath(text).is_absolute()
        or PureWindowsPath(text).is_absolute()
        or text.startswith(("~", "../", "..\\"))
    )


def _text(text: str) -> str:
    flag, equals, rest = text.partition("=") if text.startswith("-") else ("", "", text)
    if is_path(rest):
        return f"{flag}{equals}{_base(rest)}"
    return _PATH.sub(lambda match: _base(match.group()), text)


def _base(path: str) -> str:
    parts = [part for part in re.split(r"[\\/]", path) if part not in ("", ".", "..")]
    if parts[-1:] == ["__main__.py"]:  # python -m package
        parts = parts[:-1]
    return parts[-1] if parts else ""
