"""Training checkpoints with scores: masked to plain models, or trained further from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpjax.errors import InputError
from mpjax.training.progress import log

if TYPE_CHECKING:
    from mpjax.models import Model
    from mpjax.pruning import Tree
    from mpjax.training.config import TrainConfig

PUBLISHED_TAU = 0.1  # the final threshold of every published sigmoied_threshold run
# Keys of config.json that speak of scores, and of nothing once the weights are masked.
SCORE_KEYS = (
    "pruning_method", "mask_init", "mask_scale", "mask_block_rows", "mask_block_cols", "threshold"
)  # fmt: skip


def load_plain(
    folder: str | Path, head: str | None = None, *, threshold: float | None = None, **options: Any
) -> Model:
    """`models.load_model`, with the weights of a training checkpoint masked by its scores.

    Args:
      head: that of the folder unless given.
      threshold: what its masks are made with, where the folder does not say or another is wanted.
      options: of `load_model`.

    Raises:
      InputError: a checkpoint whose threshold nobody says, one out of range, or a ``threshold``
        for a folder without scores.
    """
    from mpjax import models

    path = models.resolve(folder)
    model = models.load_model(path, head or models.stored_head(path), keep_scores=True, **options)
    if model.scored is not None:
        return _masked(model, threshold)
    if threshold is not None:
        raise InputError(
            f"--threshold is for training checkpoints with scores; {folder} is a plain model"
        )
    return model


def starting_scores(
    model: Model, config: TrainConfig, shapes: Mapping[str, tuple[int, ...]]
) -> Tree | None:
    """The scores that a run starts from: those of the training checkpoint that is its model.

    Args:
      shapes: by path, of the scores that the run's structure has.

    Raises:
      InputError: a checkpoint of another method or structure.
    """
    if model.scored is None:
        return None
    from mpjax.pruning import flatten
    from mpjax.pruning.published import RULE_OF

    method, scores = model.scored.method, model.scored.scores
    if RULE_OF[method] != config.method:
        raise InputError(
            f"--model {config.model} is a training checkpoint of pruning_method {method}, which "
            f"--method {RULE_OF[method]} continues, not {config.method}; to start anew from its "
            "masked weights, give what mpjax export makes of it"
        )
    if not scores:
        return None
    found = {path: leaf.shape for path, leaf in flatten(scores).items()}
    if found != dict(shapes):
        path = next((path for path in found if found[path] != shapes.get(path)), "")
        raise InputError(
            f"--model {config.model} holds scores of other blocks than --structure "
            f"{config.structure} has: {path} is {found.get(path)} there, not {shapes.get(path)}"
        )
    log.info("starting from the scores of %s", config.model)
    return scores


def _masked(model: Model, threshold: float | None) -> Model:
    import jax

    from mpjax.models import PRUNABLE
    from mpjax.pruning import merge, select
    from mpjax.pruning.published import published_masks

    assert model.scored is not None
    method, scores = model.scored.method, model.scored.scores
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
    extra = {k: v for k, v in model.config.extra.items() if k not in SCORE_KEYS}
    return replace(
        model,
        params=merge(model.params, kernels),
        config=replace(model.config, extra=extra),
        scored=None,
    )


def _threshold(model: Model, given: float | None) -> tuple[float, str]:
    """What the masks are made with, and where that comes from."""
    assert model.scored is not None
    method, stored = model.scored.method, model.scored.threshold
    if given is not None:
        return given, "--threshold"
    if stored is not None:
        return stored, "its config.json"
    if method == "l0":
        return 1.0, "l0 has none"
    if method == "sigmoied_threshold":
        return PUBLISHED_TAU, "the published one; --threshold gives another"
    what = "cut on the scores" if method == "threshold" else "fraction of the weights to keep"
    raise InputError(
        f"{model.folder} is a training checkpoint of pruning_method {method} that does not say "
        f"its threshold; give --threshold, the {what}"
    )
