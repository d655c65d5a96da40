"""A run's model as a plain Hugging Face folder somewhere else."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from pathlib import Path

from mpjax.errors import InputError
from mpjax.export.dense import densified, is_dense
from mpjax.export.source import load_stored, tokenizer_of
from mpjax.log import log
from mpjax.runs.opening import model_folder


def export_model(run: str | Path, output: str | Path, *, threshold: float | None = None) -> Path:
    """Writes the finished model of a run, or a model folder, as a dense folder to `output`.

    Pruned weights are zeros in it, so any program that reads such folders reads it. A training
    checkpoint is masked, and a model of layers that differ in size, which `transformers` cannot
    express, gets full-size matrices with zeros again; anything else is copied as it is. It appears
    at once and whole; doing the same again changes nothing.

    Args:
      threshold: of the masks of a training checkpoint, see `plain.load_plain`.

    Raises:
      InputError: an unfinished run, or an `output` that holds anything but the same export.
    """
    if not os.path.isdir(run):
        raise InputError(f"{run} is not a folder; give the folder of a run")
    source, target = model_folder(run), Path(output).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise InputError(f"--output {target} is a file; give a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        whole = temporary / "model"
        _write(source, whole, threshold)
        if target.is_dir() and any(target.iterdir()):
            if not _same(whole, target):
                raise InputError(
                    f"--output {target} is not empty and not this export; choose another folder"
                )
            return target
        os.replace(whole, target)  # an empty folder gives way to a rename
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write(source: Path, whole: Path, threshold: float | None) -> None:
    """The folder as other programs read it."""
    from mpjax import models

    config = models.read_config(source)
    if config.layer_norm_type != "layer_norm":
        log.warning(
            "layer_norm_type is %r, which transformers does not know: what it makes of this folder "
            "is another model", config.layer_norm_type
        )  # fmt: skip
    if is_dense(config) and threshold is None and not models.is_training_checkpoint(source):
        shutil.copytree(source, whole)
        return
    model = load_stored(source, threshold)
    params, config = model.params, model.config
    if not is_dense(config):
        params, config = densified(params, config)
        log.info("layers of different sizes: written with full-size matrices, zeros in the gaps")
    models.save_model(whole, config, params, model.head, tokenizer_of(model))


def _same(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names
