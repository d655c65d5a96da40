"""Input and output folders of the commands that make one model of another."""

from __future__ import annotations

from pathlib import Path

from mpjax.errors import InputError
from mpjax.log import log
from mpjax.models import Model, load_plain, tokenizer_files
from mpjax.runs.opening import model_folder


def load_stored(name: str | Path, threshold: float | None = None) -> Model:
    """Loads the plain model of a run, model folder or hub name with its stored head.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.

    Raises:
      InputError: as `load_plain`, and for a folder with tensors of its own head missing.
    """
    model = load_plain(model_folder(name), threshold=threshold)
    if model.fresh:
        raise InputError(f"{model.folder} has no values for {', '.join(model.fresh)}")
    if model.unused:
        log.warning("not taken along: %s", ", ".join(model.unused))
    return model


def tokenizer_of(model: Model) -> Path | None:
    """Folder of a model if it has a tokenizer, else None."""
    try:
        tokenizer_files(str(model.folder))
    except InputError:
        return None
    return model.folder


def free_output(output: str | Path) -> Path:
    """Absolute path of a new or empty folder; `InputError` for a file or a folder in use."""
    target = Path(output).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"--output {target} is a file; give a folder")
    if target.is_dir() and any(target.iterdir()):
        raise InputError(f"--output {target} is not empty; choose another folder")
    return target
