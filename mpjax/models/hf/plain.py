"""Training checkpoints of the published PyTorch code, masked to plain models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from mpjax.errors import InputError
from mpjax.log import log
from mpjax.models.hf.folder import Model, load_with_scores, stored_head
from mpjax.models.hf.hub import local_folder
from mpjax.models.paths import PRUNABLE
from mpjax.pruning.published import published_masks
from mpjax.pruning.trees import merge, select

_PUBLISHED_TAU = 0.1  # the final threshold of every published sigmoied_threshold run
# Keys of config.json about scores: meaningless once the weights are masked.
_SCORE_KEYS = (
    "pruning_method", "mask_init", "mask_scale", "mask_block_rows", "mask_block_cols", "threshold"
)  # fmt: skip


def load_plain(
    folder: str | Path, head: str | None = None, *, threshold: float | None = None, **options: Any
) -> Model:
    """`load_model` that masks the weights of a training checkpoint by its scores.

    Args:
      head: default: the head of the folder.
      threshold: density, τ or cut of the masks; default: the one in the folder's config.
      options: of `load_model`.

    Raises:
      InputError: as `load_with_scores`; a checkpoint without a threshold, one out of range, or a
        ``threshold`` for a folder without scores.
    """
    path = local_folder(folder)
    model = load_with_scores(path, head or stored_head(path), **options)
    if model.stored_scores is not None:
        return _masked(model, threshold)
    if threshold is not None:
        raise InputError(
            f"--threshold is for training checkpoints with scores; {folder} is a plain model"
        )
    return model


def _masked(model: Model, threshold: float | None) -> Model:
    """The model with masked weights, its config without the keys about scores."""
    assert model.stored_scores is not None
    method, scores = model.stored_scores.method, model.stored_scores.scores
    value, origin = _threshold(model, threshold)
    kernels = select(model.params, PRUNABLE)
    try:
        masks = published_masks(method, kernels, scores, value)
    except ValueError as error:
        raise InputError(f"--threshold {value:g} for pruning_method {method}: {error}") from error
    log.info(
        "%s: weights masked by pruning_method %s, threshold %g (%s)",
        model.folder, method, value, origin,
    )  # fmt: skip
    kernels = jax.tree.map(lambda w, m: w * m.astype(w.dtype), kernels, masks)
    extra = {k: v for k, v in model.config.extra.items() if k not in _SCORE_KEYS}
    return replace(
        model,
        params=merge(model.params, kernels),
        config=replace(model.config, extra=extra),
        stored_scores=None,
    )


def _threshold(model: Model, given: float | None) -> tuple[float, str]:
    """Threshold of the masks, and its origin for the log."""
    assert model.stored_scores is not None
    method, stored = model.stored_scores.method, model.stored_scores.threshold
    if given is not None:
        return given, "--threshold"
    if stored is not None:
        return stored, "its config.json"
    if method == "l0":
        return 1.0, "l0 has none"
    if method == "sigmoied_threshold":
        return _PUBLISHED_TAU, "the published one; --threshold gives another"
    meaning = "cut on the scores" if method == "threshold" else "fraction of the weights to keep"
    raise InputError(
        f"{model.folder} is a training checkpoint of pruning_method {method} that does not say "
        f"its threshold; give --threshold, the {meaning}"
    )
