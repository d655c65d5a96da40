"""Full-size layers from layers of different sizes, with zeros for removed heads and units."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from mpjax.models import FAMILIES, EncoderConfig
from mpjax.pruning import flatten, unflatten


def is_dense(config: EncoderConfig) -> bool:
    """Whether all layers have all heads and equally many FFN units, as other programs expect."""
    return not config.pruned_heads and config.ffn_per_layer is None


def dense_config(config: EncoderConfig) -> EncoderConfig:
    """Config with all heads and FFN units in every layer."""
    return replace(config, pruned_heads=(), ffn_per_layer=None)


def densify(params: dict[str, Any], config: EncoderConfig) -> tuple[dict[str, Any], EncoderConfig]:
    """Parameters and config of the same function with full-size matrices.

    Removed heads return to their places, removed units to the end of their layer, as zeros. Logits
    are equal up to rounding, since a zero row of the output matrices adds nothing.

    >>> from mpjax.models import BertConfig, new_model
    >>> small = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    ...                    intermediate_size=4, pruned_heads=((0,),), ffn_per_layer=(3,))
    >>> params, config = densify(new_model(small, "qa").params, small)
    >>> layer = params["bert"]["encoder"]["layer_0"]
    >>> layer["attention"]["query"]["kernel"].shape, layer["ffn"]["out"]["kernel"][3].any()
    ((8, 8), np.False_)
    """
    flat = {path: np.asarray(leaf) for path, leaf in flatten(jax.device_get(params)).items()}
    for i in range(config.num_hidden_layers):
        prefix = f"{FAMILIES[config.model_type].prefix}/encoder/layer_{i}/"
        removed = config.pruned_heads[i] if config.pruned_heads else ()
        heads = np.setdiff1d(np.arange(config.num_attention_heads), removed)
        features = (heads[:, None] * config.head_size + np.arange(config.head_size)).reshape(-1)
        for name in ("query", "key", "value"):
            for leaf in ("kernel", "bias"):
                path = f"{prefix}attention/{name}/{leaf}"
                flat[path] = _scatter(flat[path], -1, features, config.hidden_size)
        path = f"{prefix}attention/output/kernel"
        flat[path] = _scatter(flat[path], 0, features, config.hidden_size)
        units = np.arange(config.units(i))
        for name, axis in (("in/kernel", -1), ("in/bias", -1), ("out/kernel", 0)):
            path = f"{prefix}ffn/{name}"
            flat[path] = _scatter(flat[path], axis, units, config.intermediate_size)
    return unflatten(flat), dense_config(config)


def _scatter(array: np.ndarray, axis: int, indices: np.ndarray, size: int) -> np.ndarray:
    """Zeros of length ``size`` along ``axis``, with the entries of ``array`` at ``indices``."""
    moved = np.moveaxis(array, axis, 0)
    full = np.zeros((size, *moved.shape[1:]), array.dtype)
    full[indices] = moved
    return np.ascontiguousarray(np.moveaxis(full, 0, axis))
