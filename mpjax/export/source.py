"""Input and output folders of the commands that make one model of another."""

from __future__ import annotations

from pathlib import Path

from mpjax.cards import CARD
from mpjax.errors import InputError
from mpjax.log import log
from mpjax.models import Model, load_plain, tokenizer_files
from mpjax.models.hf.folder import CONFIG_JSON
from mpjax.models.hf.forms.weight_files import find_weights
from mpjax.models.hf.replacing import check_only_model
from mpjax.models.hf.tokenizer import TOKENIZER_FILES
from mpjax.outputs import check_apart, new_folder
from mpjax.runs.opening import model_folder


def load_stored(name: str | Path, threshold: float | None = None) -> Model:
    """Loads the plain model of a run, model folder or hub name with its stored head.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.

    Raises:
      InputError: as `load_plain` and `known_files`, and for tensors missing of the head.
    """
    folder = model_folder(name)
    if folder.is_dir():
        known_files(folder)  # the tokenizer among them is copied
    model = load_plain(folder, threshold=threshold)
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


def output_folder(output: str | Path, name: str | Path, overwrite: bool = False) -> Path:
    """Absolute path of the folder for what is made of the model ``name``.

    Raises `InputError` as `new_folder` and `check_only_model`, and for one within the other.
    """
    target = new_folder(output, marks=(CONFIG_JSON,), overwrite=overwrite)
    read = Path(name).expanduser()  # a run holds the folder of its model
    check_apart(target, (read if read.exists() else model_folder(name)).resolve())
    check_only_model(target)
    return target


def known_files(folder: Path) -> list[Path]:
    """Files that make up a model: config, tokenizer, weights with index and shards.

    Raises:
      InputError: one of them is a symbolic link that leads out of the folder, unless into the
        blobs that belong to a snapshot of the hub's cache.
    """
    paths = [folder / name for name in (CONFIG_JSON, *TOKENIZER_FILES)]
    weights = find_weights(folder)
    paths += [weights.listed, *weights.files]
    found = list(dict.fromkeys(path for path in paths if path.is_file()))
    for path in found:
        _check_link(path, folder)
    return found


def card_of(folder: Path) -> Path | None:
    """Card in a model folder, None without one; `InputError` for a link out, as `known_files`."""
    path = folder / CARD
    if not path.is_file():
        return None
    _check_link(path, folder)
    return path


def _check_link(path: Path, folder: Path) -> None:
    inside = folder.resolve()
    allowed = [inside]
    if inside.parent.name == "snapshots":  # the hub's cache: snapshots/COMMIT/file -> blobs/hash
        allowed.append(inside.parents[1] / "blobs")
    target = path.resolve()
    if not any(target.is_relative_to(place) for place in allowed):
        raise InputError(
            f"{path} is a symbolic link to {target}, outside its folder; copy the file into the "
            "folder first"
        )
