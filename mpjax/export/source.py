"""What the commands that make one model of another start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mpjax.errors import InputError
from mpjax.log import log
from mpjax.models import load_plain
from mpjax.runs.opening import model_folder

if TYPE_CHECKING:
    from mpjax.models import Model


def load_stored(name: str | Path, threshold: float | None = None) -> Model:
    """The plain model of a run, model folder or hub name, with the head it was saved with.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.

    Raises:
      InputError: as `load_plain`, and where the folder lacks a part of its own model.
    """
    model = load_plain(model_folder(name), threshold=threshold)
    if model.fresh:
        raise InputError(f"{model.folder} has no values for {', '.join(model.fresh)}")
    if model.unused:
        log.warning("not taken along: %s", ", ".join(model.unused))
    return model


def tokenizer_of(model: Model) -> Path | None:
    """The folder of a model where it has a tokenizer to take along."""
    from mpjax.models import tokenizer_files

    try:
        tokenizer_files(str(model.folder))
    except InputError:
        return None
    return model.folder


def free_output(output: str | Path) -> Path:
    """The absolute path of a folder to be made; `InputError` where something is in the way."""
    target = Path(output).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"--output {target} is a file; give a folder")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"--output {target} is not empty; choose another folder")
    return target
