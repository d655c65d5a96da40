"""Training checkpoints of the published PyTorch code: ``….mask_scores`` beside ``….weight``.

``config.json`` names the ``pruning_method``. The threshold is an argument of that code's forward
pass and is not saved; folders written by us add it as ``threshold``. Scores are stored (out, in),
or (out/r, in/c) for blocks, and transposed here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models.config import EncoderConfig, is_number
from mpjax.models.hf.weights import Params, shapes, torch_names
from mpjax.models.paths import PRUNABLE
from mpjax.pruning.published import RULE_OF

SCORES_SUFFIX = "mask_scores"
METHOD = "pruning_method"
THRESHOLD = "threshold"
MASKED_TYPE = "masked_bert"  # model_type of its folders


@dataclass(frozen=True)
class StoredScores:
    """Pruning method, final threshold and scores of a training checkpoint.

    ``scores`` are at the paths of the prunable kernels, {} for magnitude; ``threshold`` is None
    where the folder does not name it.
    """

    method: str
    threshold: float | None
    scores: Params


def is_scored(data: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether a folder is a training checkpoint, its weights not masked yet.

    Magnitude has no scores. A checkpoint of it differs from a masked model that kept the same
    config by having no zero in any encoder matrix.
    """
    if any(name.endswith(SCORES_SUFFIX) for name in tensors):
        return True
    if data.get("model_type") != MASKED_TYPE or data.get(METHOD) != "magnitude":
        return False
    return not any((t == 0).any() for n, t in tensors.items() if "encoder" in n and t.ndim == 2)


def split_scores(
    tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Splits the tensors of a checkpoint into (weights, scores)."""
    plain = {name: t for name, t in tensors.items() if not name.endswith(SCORES_SUFFIX)}
    return plain, {name: t for name, t in tensors.items() if name not in plain}


def read_scores(
    scores: Mapping[str, np.ndarray],
    data: Mapping[str, Any],
    config: EncoderConfig,
    head: str,
    *,
    param_dtype: Any = jnp.float32,
    source: str = "the tensors",
) -> StoredScores:
    """Scores of a checkpoint under our paths, with the method and threshold of its config.

    Raises `InputError` for an unknown ``pruning_method`` or a bad ``threshold``, and for scores
    that are missing, belong to no prunable matrix, or do not divide it into blocks.
    """
    method, threshold = data.get(METHOD), data.get(THRESHOLD)
    if not isinstance(method, str) or method not in RULE_OF:
        raise InputError(
            f"{source} holds pruning scores but {METHOD} in config.json is {shown(repr(method))}; "
            f"known: {', '.join(RULE_OF)}"
        )
    if threshold is not None and not is_number(threshold):
        raise InputError(
            f"{THRESHOLD} in config.json must be a number, found {shown(repr(threshold))}"
        )
    if method == "magnitude":
        return StoredScores(method, threshold, {})
    unread = {_bare(name): tensor for name, tensor in scores.items()}
    names = {p: n for p, n in torch_names(config, head).items() if re.fullmatch(PRUNABLE, p)}
    flat = {}
    for path, name in names.items():
        score = unread.pop(_bare(name.removesuffix("weight") + SCORES_SUFFIX), None)
        if score is None:
            raise InputError(f"{source} has no {SCORES_SUFFIX} beside {name}")
        kernel = shapes(config, head)[path]
        if (
            score.ndim != 2
            or not score.size
            or any(k % s for k, s in zip(kernel, score.shape[::-1], strict=True))
        ):
            raise InputError(
                f"{source}: {SCORES_SUFFIX} beside {name} has shape {score.shape}, which does not "
                f"divide the matrix of shape {kernel[::-1]} into blocks"
            )
        flat[path] = jnp.asarray(score.T, param_dtype)
    if unread:
        raise InputError(
            f"{source} has scores of no prunable matrix: {shown(', '.join(sorted(unread)))}"
        )
    return StoredScores(method, threshold, unflatten_dict(flat, sep="/"))


def score_tensors(scores: Params, config: EncoderConfig, head: str) -> dict[str, np.ndarray]:
    """Scores under their names in a training checkpoint, (out, in); inverse of `read_scores`."""
    names = torch_names(config, head)
    return {
        names[path].removesuffix("weight") + SCORES_SUFFIX: np.ascontiguousarray(np.asarray(leaf).T)
        for path, leaf in flatten_dict(scores, sep="/").items()
    }


def _bare(name: str) -> str:
    """Strips the prefix of the body: "layer.0.output.dense.mask_scores"."""
    return name[name.find("layer.") :]
