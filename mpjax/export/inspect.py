"""How much is left of any model that a user points at."""

from __future__ import annotations

from pathlib import Path

from mpjax.export.source import load_stored
from mpjax.report import Density, measure
from mpjax.runs.opening import model_folder


def inspect_model(name: str | Path, threshold: float | None = None) -> Density:
    """Counts of a run, model folder or hub name, beside the sizes before anything was removed.

    Args:
      threshold: of the masks of a training checkpoint, see `plain.load_plain`.
    """
    from mpjax import models
    from mpjax.models.hf.tensors import read_tensors

    folder = model_folder(name)
    full = models.dense_shapes(models.read_config(folder))
    if threshold is None and not models.is_training_checkpoint(folder):
        return measure(read_tensors(folder)[1], full)
    model = load_stored(folder, threshold)
    return measure(models.to_torch_names(model.params, model.config, model.head), full)
