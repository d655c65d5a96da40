"""Model cards of the folders that are made of a run or of another folder."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mpjax.cards import CARD, gather, is_ours, make_card
from mpjax.config.recorded import is_run
from mpjax.disk import writing
from mpjax.errors import InputError
from mpjax.export.source import card_of
from mpjax.files import read_bytes
from mpjax.log import log
from mpjax.models.hf.tensors import read_tensors
from mpjax.temporary import beside, restore, swap, sync


def save_with_card(
    save: Callable[[Path], Any],
    target: Path,
    card: Callable[[Path, Path], None],
    overwrite: bool,
) -> Path:
    """Writes a model folder and its card, both or nothing.

    Args:
      save: writes the folder to a path that is free.
      card: puts a card into a folder that is to be renamed to the target; see `write_card`.
      overwrite: replace another model in ``target``.
    """
    with writing(target, 0):
        target.parent.mkdir(parents=True, exist_ok=True)
        restore(target)
        with beside(target, folder=True) as temporary:
            export = temporary / "model"
            try:
                save(export)
            except InputError as error:  # of a disk, about the temporary folder
                raise InputError(str(error).replace(str(export), str(target))) from error
            card(export, target)
            return put(export, target, overwrite)


def write_card(
    run: str | Path,
    source: Path,
    export: Path,
    target: Path,
    tensors: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> None:
    """Puts a card into a finished export: the author's where there is one, else that of the run.

    Args:
      run: run or folder that was exported.
      source: folder of its model.
      target: folder that the export becomes; a card there that somebody has edited is kept.
      tensors: weights whose density is told; those of the export unless given.
      notes: sentences for the card.
    """
    written, theirs = export / CARD, card_of(source)
    if theirs is not None:
        written.write_bytes(read_bytes(theirs))
    elif is_run(run):
        tensors = read_tensors(export)[1] if tensors is None else tensors
        written.write_bytes(make_card(gather(run, export, tensors, notes)))
    edited = read_bytes(target / CARD) if (target / CARD).is_file() else None
    if edited is not None and not is_ours(edited):
        written.write_bytes(edited)
        log.warning("%s has been edited and is kept; remove it for a new one", target / CARD)
    if written.exists():
        sync(written)


def put(export: Path, target: Path, overwrite: bool) -> Path:
    """Renames a finished export to its target, unless that holds the same or is to stay."""
    if target.is_dir() and any(target.iterdir()):
        if _equal(export, target):
            return target
        if not overwrite:
            raise InputError(
                f"--output {target} is not empty and not this export; choose another folder, or "
                "replace it with --overwrite"
            )
        swap(export, target)
    else:
        os.replace(export, target)  # replaces an empty folder
    sync(target.parent)
    return target


def _equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same content."""
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names
