"""A model of layers that differ in size as one of equal layers, with zeros in the gaps."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from mpjax.models import FAMILIES, EncoderConfig
from mpjax.pruning import flatten, unflatten


def is_dense(config: EncoderConfig) -> bool:
    """Whether all layers have all heads and the same width: what other programs can read."""
    return not config.pruned_heads and config.ffn_per_layer is None


def dense_config(config: EncoderConfig) -> EncoderConfig:
    """The config with every head and every unit that ``num_attention_heads`` and
    ``intermediate_size`` speak of."""
    return replace(config, pruned_heads=(), ffn_per_layer=None)


def densified(
    params: dict[str, Any], config: EncoderConfig
) -> tuple[dict[str, Any], EncoderConfig]:
    """The same function with full-size matrices: zeros where heads and units were removed.

    Heads return to their old places, units to the end of their layer. Logits are equal up to
    rounding, since a zero row of the output matrices adds nothing.

    >>> from mpjax.models import BertConfig, new_model
    >>> small = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    ...                    intermediate_size=4, pruned_heads=((0,),), ffn_per_layer=(3,))
    >>> params, config = densified(new_model(small, "qa").params, small)
    >>> layer = params["bert"]["encoder"]["layer_0"]
    >>> layer["attention"]["query"]["kernel"].shape, layer["ffn"]["out"]["kernel"][3].any()
    ((8, 8), np.False_)
    """
    flat = {path: np.asarray(leaf) for path, leaf in flatten(jax.device_get(params)).items()}
    for i in range(config.num_hidden_layers):
        prefix = f"{FAMILIES[config.model_type].prefix}/encoder/layer_{i}/"
        gone = config.pruned_heads[i] if config.pruned_heads else ()
        heads = np.setdiff1d(np.arange(config.num_attention_heads), gone)
        features = (heads[:, None] * config.head_size + np.arange(config.head_size)).reshape(-1)
        for name in ("query", "key", "value"):
            for leaf in ("kernel", "bias"):
                path = f"{prefix}attention/{name}/{leaf}"
                flat[path] = _spread(flat[path], -1, features, config.hidden_size)
        path = f"{prefix}attention/output/kernel"
        flat[path] = _spread(flat[path], 0, features, config.hidden_size)
        units = np.arange(config.units(i))
        for name, axis in (("in/kernel", -1), ("in/bias", -1), ("out/kernel", 0)):
            path = f"{prefix}ffn/{name}"
            flat[path] = _spread(flat[path], axis, units, config.intermediate_size)
    return unflatten(flat), dense_config(config)


def _spread(array: np.ndarray, axis: int, places: np.ndarray, size: int) -> np.ndarray:
    """Zeros of length ``size`` along ``axis``, with the entries of ``array`` at ``places``."""
    moved = np.moveaxis(array, axis, 0)
    whole = np.zeros((size, *moved.shape[1:]), array.dtype)
    whole[places] = moved
    return np.ascontiguousarray(np.moveaxis(whole, 0, axis))
