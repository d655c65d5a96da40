"""Writing files atomically, and reading JSON with errors that name the file."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mpjax.disk import writing
from mpjax.errors import InputError, cut, escaped
from mpjax.hostmemory import available
from mpjax.temporary import beside, put, sync

_SMALL = 64_000_000  # bytes: less is read without a look at the memory
_JSON_TIMES = 6  # bytes for each of a JSON document: its text, and values (5 to 10 were measured)
MOST_DEPTH = 100  # lists and objects inside each other: json's own writer recurses too
_MOST_DIGITS = 300  # of a whole number: float() takes no more
# Matches escapes of JSON text; group 1 is half of a character outside the basic plane, without its
# other half. No encoder takes it, the tokenizers' and UTF-8's included.
_LONE_HALF = re.compile(
    rb"\\(?:[^u]|u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    needs: int | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Replaces `path` by what `write` puts into a file; it holds the old content or all of the new.

    The content goes to a temporary file in the same folder, which is made if missing, reaches the
    disk, and is then renamed. A failure leaves the old file and removes the temporary one.

    Args:
      needs: bytes that will be written, for the message about a full disk.
      overwrite: replace a file that exists.

    Raises:
      InputError: the disk is full or refuses for another reason, or the file exists and is to stay.
    """
    with writing(path, needs):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as temporary:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())  # a network disk may report only here that it is full
            temporary.chmod(0o644)  # made for the owner alone
            put(temporary, path, overwrite=overwrite)
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file; atomic, with the errors of `write_atomically`."""
    content = text.encode()
    write_atomically(path, lambda file: file.write(content), len(content))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object; atomic, with the errors of `write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def check_memory(path: Path, needed: float) -> None:
    """`InputError` if reading a file needs more bytes of memory than are available."""
    if needed < _SMALL:
        return
    free = available()
    if free is not None and needed > free:
        raise InputError(
            f"{shown(path)}: reading it takes about {needed / 1e9:,.1f} GB of memory, and "
            f"{free / 1e9:,.1f} GB are free; give a smaller file, or use a larger machine"
        )


def read_bytes(path: Path, times: float = 1, most: int = -1) -> bytes:
    """Content of a file; `InputError` if it cannot be read or does not fit into memory.

    Args:
      times: bytes of memory that are needed for each byte of the file.
      most: bytes to read at most, -1 for all of them.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            check_memory(path, times * (size if most < 0 else min(size, most)))
            return file.read(most)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{shown(path)} cannot be read: {_reason(error)}") from error


def read_json(path: Path) -> Any:
    """Reads one JSON document, UTF-8 with or without a byte-order mark.

    Raises:
      InputError: the file is missing, does not fit into memory, or as `parse_json`.
    """
    return parse_json(path, read_bytes(path, _JSON_TIMES))


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object; `InputError` as `read_json`, and for any other JSON value."""
    return _object(path, read_json(path))


def parse_object(path: Path, content: bytes) -> dict[str, Any]:
    """Parses the content of a file as a JSON object; errors as `read_object`."""
    return _object(path, parse_json(path, content))


def parse_json(path: Path, content: bytes, line: int | None = None) -> Any:
    """Parses JSON text that may come from anyone.

    Args:
      path: for the error message.
      line: number of the line that is parsed; None where the content is a whole file.

    Raises:
      InputError: not UTF-8, not JSON, a name twice in an object, a number of more than 300 digits,
        half a character, or lists and objects more than `MOST_DEPTH` deep.
    """

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = _where(path, line, content, error.start)
        raise InputError(f"{where}: not UTF-8 text ({error.reason})") from error
    half = next((match for match in _LONE_HALF.finditer(content) if match[1]), None)
    if half is not None:
        raise InputError(
            f"{_where(path, line, content, half.start())}: \\{half[1].decode()} is half of a "
            "character, which no tokenizer takes; write the text again"
        )
    try:
        value = json.loads(text, parse_int=_whole, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        number = error.lineno if line is None else line
        raise InputError(f"{shown(path)} line {number}: not JSON ({error.msg})") from error
    except ValueError as error:  # of the two hooks
        raise InputError(f"{_where(path, line)}: {error}") from error
    except RecursionError as error:
        raise InputError(_too_deep(path, line)) from error
    if _deeper(value, MOST_DEPTH):
        raise InputError(_too_deep(path, line))
    return value


def shown(value: object, most: int = 200) -> str:
    """Text of a value for messages: at most `most` printable characters, and in quotes if blank.

    >>> shown("a" * 1000, 9)
    'aaa...aaa'
    >>> print(shown(" "))
    ' '
    """
    text = str(value)
    return cut(escaped(text if text.strip() else repr(text)), most)


def _where(path: Path, line: int | None, content: bytes = b"", at: int | None = None) -> str:
    """File and line; the line of byte `at` of the content where the line is not given."""
    if line is None and at is not None:
        line = content.count(b"\n", 0, at) + 1
    return shown(path) if line is None else f"{shown(path)} line {line}"


def _too_deep(path: Path, line: int | None) -> str:
    return (
        f"{_where(path, line)}: lists and objects are more than {MOST_DEPTH} deep; write them flat"
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits, {digits[:20]}...; no option is so big")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{shown(repr(twice))} is in one object twice; keep one of them")
    return found


def _deeper(value: Any, most: int) -> bool:
    """Whether lists and objects lie more than `most` deep, looked up level by level."""
    level = [value]
    for _ in range(most):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _object(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{shown(path)} must hold a JSON object, found {type(value).__name__}")
    return value
