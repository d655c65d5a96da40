"""Data sets on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.tasks.own.reading.classes import named_classes

Split = tuple[tuple[str, ...], list[dict[str, Any]], dict[str, tuple[str, ...]]]


def is_hub(data: str | Path | None) -> bool:
    """Whether `data` means the hub: None, or the word ``hub``."""
    return data is None or str(data) == "hub"


def load_rows(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
    """Rows of a split, downloaded on the first call and then read from the cache of `datasets`.

    Raises:
      InputError: no network and no cached copy, or no such data set.
    """
    import datasets  # here, not above: it takes a second to import, and local files need none of it

    try:
        loaded = datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError) as error:
        raise InputError(
            f"data: cannot load {name} {config or ''} {split} from the hub "
            f"({type(error).__name__}: {error}); give --data a folder or file instead"
        ) from error
    return [dict(row) for row in loaded]


def load_splits(name: str, config: str | None) -> dict[str, Split]:
    """Every split of a data set: columns, rows, and the names of classes by column.

    Raises:
      InputError: as `load_rows`, or several configs to choose from.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name, config)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--data hub:{shown(name)}{':' + config if config else ''} cannot be loaded "
            f"({type(error).__name__}: {shown(error)}); give hub:OWNER/NAME or "
            "hub:OWNER/NAME:CONFIG of a data set, or a file"
        ) from error
    return {
        str(split): (
            tuple(rows.column_names),
            [dict(row) for row in rows],
            named_classes(dict(rows.features.to_dict())),
        )
        for split, rows in loaded.items()
    }
