"""Density of a model, counted in its tensors."""

from __future__ import annotations

from pathlib import Path

from mpjax.export.source import load_stored
from mpjax.models import dense_shapes, is_training_checkpoint, read_config, to_torch_names
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.hf.weights import check_body
from mpjax.report import EncoderDensity, measure
from mpjax.runs.opening import model_folder


def inspect_model(name: str | Path, threshold: float | None = None) -> EncoderDensity:
    """Counts the encoder weights of a run, model folder or hub name, removed ones as zeros.

    Args:
      threshold: of the masks of a training checkpoint, see `load_plain`.
    """
    folder = model_folder(name)
    if threshold is None and not is_training_checkpoint(folder):
        # Before anything is traced: reading compares config and weights.
        path, tensors = read_tensors(folder)
        config = read_config(folder)
        check_body(tensors, config, str(path))
        return measure(tensors, dense_shapes(config))
    model = load_stored(folder, threshold)
    dense = dense_shapes(model.config)
    return measure(to_torch_names(model.params, model.config, model.head), dense)
