"""Disk cache of encoded data sets."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpjax.files import write_atomically
from mpjax.tasks.base import Encoded, Row, Task

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

FORMAT = 1  # increase when the encoding changes, to invalidate old files


def encode(
    task: Task,
    rows: Sequence[Row],
    tokenizer: Tokenizer,
    max_length: int,
    folder: Path | None = None,
) -> Encoded:
    """Encodes rows by ``task.encode``, or reads the result of an earlier call.

    Args:
      folder: of the cache, None for no cache. An unreadable file in it is replaced.
    """
    if folder is None:
        return task.encode(rows, tokenizer, max_length)
    path = folder / f"{task.name}-{key(task, rows, tokenizer, max_length)}.npz"
    found = _load(path)
    if found is None:
        found = task.encode(rows, tokenizer, max_length)
        _save(path, found)
    return found


def key(task: Task, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> str:
    """Hash of the rows, the tokenizer and every setting of the task, 32 hex digits."""
    digest = hashlib.sha256()
    digest.update(repr((FORMAT, task, max_length, tokenizer.all_special_ids)).encode())
    digest.update(tokenizer_text(tokenizer).encode())
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:32]


def tokenizer_text(tokenizer: Tokenizer) -> str:
    """Serialized tokenizer: equal for tokenizers that give equal ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # a slow tokenizer has no serialized form but its vocabulary
        return json.dumps([type(tokenizer).__name__, tokenizer.get_vocab()], sort_keys=True)
    described = json.loads(backend.to_str())
    # Truncation and padding are left over from the last call.
    described.pop("truncation", None)
    described.pop("padding", None)
    return json.dumps(described, sort_keys=True)


def _load(path: Path) -> Encoded | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file) as stored:
            content = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return Encoded(
        arrays={n[2:]: content[n] for n in content if n.startswith("a/")},
        lengths=content["lengths"],
        extra={n[2:]: content[n] for n in content if n.startswith("x/")},
    )


def _save(path: Path, encoded: Encoded) -> None:
    content = {f"a/{name}": array for name, array in encoded.arrays.items()}
    content |= {f"x/{name}": array for name, array in encoded.extra.items()}
    arrays: dict[str, Any] = {"lengths": encoded.lengths, **content}
    write_atomically(path, lambda file: np.savez(file, **arrays))  # two runs may write it at once
