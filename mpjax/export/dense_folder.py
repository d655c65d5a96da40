"""A run's model as a dense Hugging Face folder for other programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mpjax.cards import CARD
from mpjax.disk import writing
from mpjax.errors import InputError
from mpjax.export.carded import put, write_card
from mpjax.export.dense import densify, is_dense
from mpjax.export.source import known_files, load_stored, output_folder, tokenizer_of
from mpjax.log import log
from mpjax.models import is_training_checkpoint, read_config, save_model
from mpjax.models.hf.saving import finish
from mpjax.models.hf.tensors import is_standard
from mpjax.models.packed.file import is_packed
from mpjax.runs.opening import model_folder
from mpjax.temporary import beside, restore


def export_model(
    run: str | Path,
    output: str | Path,
    *,
    threshold: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model of a finished run, or of a model folder, as a dense folder to ``output``.

    Pruned weights are zeros in it, so any program that reads such folders reads it. A training
    checkpoint is masked. Layers of different sizes, which `transformers` cannot express, get
    full-size matrices with zeros, and weights in a place, form or spelling of other programs are
    written anew. Of any other folder the files of the model are copied unchanged. A run gets a
    model card; the card of a folder, and one in ``output`` that somebody has edited, are kept. The
    output appears at once, whole or not at all; exporting again changes nothing.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.
      overwrite: replace another model in ``output``.

    Raises:
      InputError: an unfinished run, an ``output`` that is a file or holds anything but the same
        export, or as `known_files`.
    """
    if is_packed(run):
        raise InputError(f"{run} is a packed model; make a folder of it with: mpjax unpack")
    if not os.path.isdir(run):
        raise InputError(f"{run} is not a folder; give the folder of a run")
    source, target = model_folder(run), output_folder(output, run, overwrite=True)
    with writing(output, sum(path.stat().st_size for path in known_files(source))):
        target.parent.mkdir(parents=True, exist_ok=True)
        restore(target)
        with beside(target, folder=True) as temporary:
            export = temporary / "model"
            _write(source, export, threshold)
            write_card(run, source, export, target)
            return put(export, target, overwrite)


def _write(source: Path, export: Path, threshold: float | None) -> None:
    """Writes a copy of a model folder, masked and dense."""
    config = read_config(source)
    if config.layer_norm_type != "layer_norm":
        log.warning(
            "layer_norm_type is %r, which transformers does not know: what it makes of this folder "
            "is another model", config.layer_norm_type
        )  # fmt: skip
    as_is = is_dense(config) and threshold is None and is_standard(source)
    if as_is and not is_training_checkpoint(source):
        _copy(source, export)
        return
    model = load_stored(source, threshold)
    params, config = model.params, model.config
    if not is_dense(config):
        params, config = densify(params, config)
        log.info("layers of different sizes: written with full-size matrices, zeros in the gaps")
    save_model(export, config, params, model.head, tokenizer_of(model))


def _copy(source: Path, export: Path) -> None:
    """Copies the files of a model as regular files, and names what stays behind."""
    known = known_files(source)
    export.mkdir()
    for path in known:
        shutil.copyfile(path, export / path.name)
    finish(export)
    taken = {*known, source / CARD}
    others = sorted(path.name for path in source.iterdir() if path not in taken)
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        log.info("not taken along, no part of a model: %s%s", ", ".join(others[:5]), more)
