"""Arrays kept on disk between runs: each file with a digest, and none needed to go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mpjax.errors import InputError
from mpjax.files import write_atomically
from mpjax.log import log, without_cache

SUFFIX = ".safetensors"
_RECORD = "digest and names"  # one key: the order of several would change from file to file


def keep(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays with their digest; a disk that refuses is said once, and nothing is kept."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    data = save(whole, {_RECORD: json.dumps([digest(whole), *whole])})
    try:
        write_atomically(path, lambda file: file.write(data), len(data))
    except InputError as error:
        without_cache(error)


def kept(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays that `keep` wrote; None for no file, and for a damaged one, which is said."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            recorded, *names = json.loads((file.metadata() or {})[_RECORD])
        arrays = {name: arrays[name] for name in names}
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        damaged(path, f"{type(error).__name__} {error}")
        return None
    if digest(arrays) != recorded:
        damaged(path, "its digest is wrong")
        return None
    return arrays


def damaged(path: Path, why: str) -> None:
    """Says that an entry of the cache is not what it should be."""
    log.warning("%s is damaged and is made again: %s", path, why)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Hash of order, names, types, shapes and values, 32 hex digits."""
    state = xxhash.xxh3_128()
    for name, array in arrays.items():
        state.update(repr((name, array.dtype.str, array.shape)).encode())
        state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return state.hexdigest()
