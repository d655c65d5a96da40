"""A run's model as a dense Hugging Face folder for other programs."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from pathlib import Path

from mpjax.errors import InputError
from mpjax.export.dense import densify, is_dense
from mpjax.export.source import load_stored, tokenizer_of
from mpjax.log import log
from mpjax.models import is_training_checkpoint, read_config, save_model
from mpjax.runs.opening import model_folder


def export_model(run: str | Path, output: str | Path, *, threshold: float | None = None) -> Path:
    """Writes the model of a finished run, or of a model folder, as a dense folder to ``output``.

    Pruned weights are zeros in it, so any program that reads such folders reads it. A training
    checkpoint is masked. Layers of different sizes, which `transformers` cannot express, get
    full-size matrices with zeros. Any other folder is copied unchanged. The output appears at once,
    whole or not at all; exporting again changes nothing.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.

    Raises:
      InputError: an unfinished run, or an ``output`` that is a file or holds anything but the same
        export.
    """
    if not os.path.isdir(run):
        raise InputError(f"{run} is not a folder; give the folder of a run")
    source, target = model_folder(run), Path(output).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"--output {target} is a file; give a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        export = temporary / "model"
        _write(source, export, threshold)
        if target.is_dir() and any(target.iterdir()):
            if not _equal(export, target):
                raise InputError(
                    f"--output {target} is not empty and not this export; choose another folder"
                )
            return target
        os.replace(export, target)  # replaces an empty folder
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write(source: Path, export: Path, threshold: float | None) -> None:
    """Writes a copy of a model folder, masked and dense."""
    config = read_config(source)
    if config.layer_norm_type != "layer_norm":
        log.warning(
            "layer_norm_type is %r, which transformers does not know: what it makes of this folder "
            "is another model", config.layer_norm_type
        )  # fmt: skip
    if is_dense(config) and threshold is None and not is_training_checkpoint(source):
        shutil.copytree(source, export)
        return
    model = load_stored(source, threshold)
    params, config = model.params, model.config
    if not is_dense(config):
        params, config = densify(params, config)
        log.info("layers of different sizes: written with full-size matrices, zeros in the gaps")
    save_model(export, config, params, model.head, tokenizer_of(model))


def _equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same content."""
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names
