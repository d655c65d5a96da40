"""Model cards of the folders that are made of a run or of another folder."""

from __future__ import annotations

from pathlib import Path

from mpjax.cards import CARD, gather, is_ours, make_card
from mpjax.config.recorded import is_run
from mpjax.export.source import card_of
from mpjax.files import read_bytes
from mpjax.log import log
from mpjax.models.hf.tensors import read_tensors
from mpjax.temporary import sync


def write_card(run: str | Path, source: Path, export: Path, target: Path) -> None:
    """Puts a card into a finished export: the author's where there is one, else that of the run."""
    written, theirs = export / CARD, card_of(source)
    if theirs is not None:
        written.write_bytes(read_bytes(theirs))
    elif is_run(run):
        written.write_bytes(make_card(gather(run, export, read_tensors(export)[1])))
    edited = read_bytes(target / CARD) if (target / CARD).is_file() else None
    if edited is not None and not is_ours(edited):
        written.write_bytes(edited)
        log.warning("%s has been edited and is kept; remove it for a new one", target / CARD)
    if written.exists():
        sync(written)
