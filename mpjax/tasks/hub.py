"""Rows of a data set on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpjax.errors import InputError


def wanted(data: str | Path | None) -> bool:
    """True when `data` means the hub: nothing given, or the word ``hub``."""
    return data is None or str(data) == "hub"


def rows(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
    """All rows of a split, downloaded (once, then from the cache of `datasets`)."""
    import datasets

    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:  # no network, no such data set, no cached copy
        raise InputError(
            f"data: could not get {name} {config or ''} {split} from the hub "
            f"({type(error).__name__}: {error}); give --data a folder or file instead"
        ) from error
    return [dict(row) for row in loaded]
