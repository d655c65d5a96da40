"""Writing files atomically, and reading JSON with errors that name the file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from mpjax.disk import writing
from mpjax.errors import InputError


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], needs: int | None = None
) -> None:
    """Replaces `path` by what `write` puts into a file; it holds the old content or all of the new.

    The content goes to a temporary file in the same folder, which is made if missing, reaches the
    disk, and is then renamed. A failure leaves the old file and removes the temporary one.

    Args:
      needs: bytes that will be written, for the message about a full disk.

    Raises:
      InputError: the disk is full, or refuses for another reason.
    """
    with writing(path, needs):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())  # a network disk may report only here that it is full
            os.chmod(temporary, 0o644)  # mkstemp makes files for the owner alone
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file; atomic, with the errors of `write_atomically`."""
    content = text.encode()
    write_atomically(path, lambda file: file.write(content), len(content))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object; atomic, with the errors of `write_atomically`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Reads one JSON document, UTF-8 with or without a byte-order mark.

    Raises:
      InputError: the file is missing, not UTF-8 or not JSON.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return parse_json(path, content)


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object; `InputError` as `read_json`, and for any other JSON value."""
    return _object(path, read_json(path))


def parse_object(path: Path, content: bytes) -> dict[str, Any]:
    """Parses the content of a file as a JSON object; errors as `read_object`."""
    return _object(path, parse_json(path, content))


def parse_json(path: Path, content: bytes) -> Any:
    """Parses the content of a file as JSON; `path` is for the error message."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path} line {error.lineno}: not JSON ({error.msg})") from error


def _object(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a JSON object, found {type(value).__name__}")
    return value
