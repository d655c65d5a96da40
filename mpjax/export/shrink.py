"""Removing the attention heads and FFN units that add nothing but a constant, exactly.

A feature of a head (a column of value, a row of the output matrix) adds
``Σ_k softmax(..)_qk · v_k · O``. It is dead when its value column is zero, since the softmax of a
query sums to 1 and what it adds is ``b_v · O`` for every token; or when its row of O is zero. A
head whose features are all dead goes, whatever its query and key; one with a live feature stays
whole, also when its query or key is zero, because it averages then rather than vanishes.

An FFN unit is dead when its row of ``out`` is zero, or when its column of ``in`` is zero, and it
adds ``act(b_in) · out`` for every token. The constants go into the biases of the two outputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpjax.models import FAMILIES, EncoderConfig
from mpjax.models.activations import ACTIVATIONS
from mpjax.models.live import LayerParams, live_heads, live_units
from mpjax.pruning import flatten, unflatten


@dataclass(frozen=True)
class Shrunk:
    """A model without its dead parts, and the number of its parameters before and after."""

    params: dict[str, Any]
    config: EncoderConfig
    parameters_before: int
    parameters_after: int


def shrink(params: dict[str, Any], config: EncoderConfig) -> Shrunk:
    """The model without heads and units that cannot contribute; its logits are the same.

    Equal at evaluation, without dropout, up to the rounding of the products. Layers may lose all
    heads or all units. Nothing dead, nothing changed.

    >>> from mpjax.models import BertConfig, new_model
    >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    ...                   intermediate_size=16)
    >>> params = new_model(tiny, "qa").params
    >>> layer = params["bert"]["encoder"]["layer_0"]
    >>> layer["ffn"]["in"]["kernel"] = layer["ffn"]["in"]["kernel"].at[:, :10].set(0)
    >>> small = shrink(params, tiny)
    >>> small.config.intermediate_size, small.parameters_before - small.parameters_after
    (6, 170)
    """
    flat = {path: np.asarray(leaf) for path, leaf in flatten(jax.device_get(params)).items()}
    small = dict(flat)
    heads: list[np.ndarray] = []
    units: list[np.ndarray] = []
    for i in range(config.num_hidden_layers):
        prefix = f"{FAMILIES[config.model_type].prefix}/encoder/layer_{i}/"
        layer = {p.removeprefix(prefix): w for p, w in flat.items() if p.startswith(prefix)}
        heads.append(live_heads(layer, config.head_size))
        units.append(live_units(layer))
        layer = without_heads(layer, np.repeat(heads[-1], config.head_size))
        layer = without_units(layer, units[-1], config.hidden_act)
        small |= {prefix + path: leaf for path, leaf in layer.items()}
    counts = [sum(leaf.size for leaf in tree.values()) for tree in (flat, small)]
    return Shrunk(
        unflatten({path: jnp.asarray(leaf) for path, leaf in small.items()}),
        resized(config, heads, units),
        *counts,
    )


def without_heads(layer: LayerParams, keep: np.ndarray) -> LayerParams:
    """The layer without the features of heads that ``keep``, (features,) bool, leaves out."""
    changed = dict(layer)
    for name in ("query", "key", "value"):
        changed[f"attention/{name}/kernel"] = layer[f"attention/{name}/kernel"][:, keep]
        changed[f"attention/{name}/bias"] = layer[f"attention/{name}/bias"][keep]
    kernel = layer["attention/output/kernel"]
    constant = layer["attention/value/bias"]
    changed["attention/output/kernel"] = kernel[keep]
    changed["attention/output/bias"] = _folded(
        layer["attention/output/bias"], constant[~keep], kernel[~keep]
    )
    return changed


def without_units(layer: LayerParams, keep: np.ndarray, activation: str) -> LayerParams:
    """The layer without the FFN units that ``keep``, (units,) bool, leaves out."""
    changed = dict(layer)
    changed["ffn/in/kernel"] = layer["ffn/in/kernel"][:, keep]
    changed["ffn/in/bias"] = layer["ffn/in/bias"][keep]
    kernel = layer["ffn/out/kernel"]
    constant = np.asarray(ACTIVATIONS[activation](jnp.asarray(layer["ffn/in/bias"][~keep])))
    changed["ffn/out/kernel"] = kernel[keep]
    changed["ffn/out/bias"] = _folded(layer["ffn/out/bias"], constant, kernel[~keep])
    return changed


def resized(
    config: EncoderConfig, heads: Sequence[np.ndarray], units: Sequence[np.ndarray]
) -> EncoderConfig:
    """The config of what ``heads`` and ``units``, (n,) bool a layer, leave of the model.

    Equal layers that are a plain, smaller encoder are written as one, so that other programs can
    read the folder.
    """
    pruned = []
    for i, keep in enumerate(heads):
        gone = config.pruned_heads[i] if config.pruned_heads else ()
        present = np.setdiff1d(np.arange(config.num_attention_heads), gone)
        pruned.append(tuple(sorted((*gone, *present[~keep].tolist()))))
    widths = {int(keep.sum()) for keep in units}
    plain = len(widths) == 1 and min(widths) > 0
    return replace(
        config,
        pruned_heads=tuple(pruned) if any(pruned) else (),
        intermediate_size=min(widths) if plain else config.intermediate_size,
        ffn_per_layer=None if plain else tuple(int(keep.sum()) for keep in units),
    )


def _folded(bias: np.ndarray, constant: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``bias + constant @ kernel`` rounded once: sums in float64."""
    total = bias.astype(np.float64) + constant.astype(np.float64) @ kernel.astype(np.float64)
    return total.astype(bias.dtype)
