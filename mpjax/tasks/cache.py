"""Disk cache of encoded data sets, which are encoded part by part and read as mapped files.

A cached row takes 4 bytes a token where ids fit 16 bits, else 6; in memory it would take 12.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpjax import plugins
from mpjax.arrays import SUFFIX, damaged, keep_parts, kept
from mpjax.tasks.base import ROW, Encoded, Row, Task

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

FORMAT = 2  # increase when the encoding changes, to invalidate old files
PART = 8192  # rows encoded at once: 70 MB of arrays for SQuAD at 384 tokens


def encode(
    task: Task,
    rows: Sequence[Row],
    tokenizer: Tokenizer,
    max_length: int,
    folder: Path | None = None,
) -> Encoded:
    """Encodes rows by ``task.encode``, or reads the result of an earlier call.

    Args:
      folder: of the cache, None for no cache. A damaged file in it is said and replaced; a folder
        that cannot be written is said once and not used.
    """
    encoded = None
    # A plugin's code may change while its settings stay, and the key has only these.
    if folder is not None and task.name not in plugins.names("task"):
        path = folder / f"{task.name}-{key(task, rows, tokenizer, max_length)}{SUFFIX}"
        encoded = _load(path, task, max_length)
        if encoded is None and keep_parts(path, _parts(task, rows, tokenizer, max_length)):
            encoded = _load(path, task, max_length)
    if encoded is None:
        encoded = task.encode(rows, tokenizer, max_length)
    task.note(rows, encoded)
    return encoded


def key(task: Task, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> str:
    """Hash of the rows, the tokenizer and every setting of the task, 32 hex digits."""
    digest = hashlib.sha256()
    digest.update(repr((FORMAT, task, max_length, tokenizer.all_special_ids)).encode())
    digest.update(tokenizer_text(tokenizer).encode())
    text = json.JSONEncoder(sort_keys=True).encode  # json.dumps would make an encoder for each row
    for row in rows:
        digest.update(text(row).encode())
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


def _load(path: Path, task: Task, max_length: int) -> Encoded | None:
    content = kept(path)
    if content is None:
        return None
    lengths = content.pop("lengths", np.zeros(0))
    parts = {kind: {n[2:]: content[n] for n in content if n[:2] == kind} for kind in ("a/", "x/")}
    found = Encoded(parts["a/"], lengths, parts["x/"])
    why = _unfit(found, max_length)
    if why is not None:
        damaged(path, f"{why} do not belong to {task.name}")
        return None
    return found


def _unfit(found: Encoded, max_length: int) -> str | None:
    """Arrays that no encoding has; None if all fit one another."""
    ids = found.arrays.get("input_ids")
    if ids is None or ids.ndim != 2 or ids.dtype.kind not in "iu" or ids.shape[1] > max_length:
        return "input_ids"
    if found.lengths.shape != ids.shape[:1]:
        return "lengths"
    everything = {**found.arrays, **found.extra}
    return next((n for n, a in everything.items() if a.shape[:1] != ids.shape[:1]), None)


def _parts(
    task: Task, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int
) -> Iterator[dict[str, np.ndarray]]:
    """Contents of the file, `PART` rows at a time where the task encodes each row by itself."""
    size = PART if task.rowwise else max(len(rows), 1)
    small = _small_types(tokenizer)
    for begin in range(0, max(len(rows), 1), size):
        encoded = task.encode(rows[begin : begin + size], tokenizer, max_length)
        content = {"lengths": encoded.lengths}
        for name, array in encoded.arrays.items():
            content[f"a/{name}"] = array.astype(small.get(name, array.dtype))
        for name, array in encoded.extra.items():
            content[f"x/{name}"] = array + begin if name == ROW else array
        yield content


def _small_types(tokenizer: Tokenizer) -> dict[str, type]:
    """Types that hold ids, masks and token types of a tokenizer in fewer bytes than int32."""
    largest = max(tokenizer.get_vocab().values(), default=0)
    ids = np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32
    return {"input_ids": ids, "attention_mask": np.uint8, "token_type_ids": np.uint8}
