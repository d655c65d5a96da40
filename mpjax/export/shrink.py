"""Exact removal of attention heads and FFN units that add a constant or nothing.

Dead heads and units (`mpjax.models.live`) add constants ``b_v · O`` and ``act(b_in) · out`` to
every token; the constants go into the biases of the two output layers, so logits do not change. A
head with one live feature stays whole.

Lagunas et al. 2021 (arXiv 2109.04838) remove zero heads and FFN units after training, for smaller
dense matrices that run faster. Their released models lack the heads but hold zero FFN units in
full-size matrices; ours lack both. Moving the constants into the biases, so that the removal is
exact, is ours.
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
from mpjax.models.sizes import DENSE_WIDTH
from mpjax.pruning import flatten, unflatten


@dataclass(frozen=True)
class Shrunk:
    """A model without dead heads and units, and its numbers of parameters before and after."""

    params: dict[str, Any]
    config: EncoderConfig
    parameters_before: int
    parameters_after: int


def shrink(params: dict[str, Any], config: EncoderConfig) -> Shrunk:
    """Removes dead heads and FFN units; logits without dropout are equal up to rounding.

    A layer may lose all its heads or units. A model without dead ones is unchanged.

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
    given = flatten(params)
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
        # Arrays that are as they were are not copied.
        unflatten({p: jnp.asarray(given[p] if x is flat[p] else x) for p, x in small.items()}),
        resized(config, heads, units),
        *counts,
    )


def without_heads(layer: LayerParams, keep: np.ndarray) -> LayerParams:
    """Layer with the attention features of ``keep``, (features,) bool, only."""
    changed = dict(layer)
    if keep.all():
        return changed  # without copies of the matrices
    for name in ("query", "key", "value"):
        changed[f"attention/{name}/kernel"] = layer[f"attention/{name}/kernel"][:, keep]
        changed[f"attention/{name}/bias"] = layer[f"attention/{name}/bias"][keep]
    kernel = layer["attention/output/kernel"]
    constant = layer["attention/value/bias"]
    changed["attention/output/kernel"] = kernel[keep]
    changed["attention/output/bias"] = _add_constant(
        layer["attention/output/bias"], constant[~keep], kernel[~keep]
    )
    return changed


def without_units(layer: LayerParams, keep: np.ndarray, activation: str) -> LayerParams:
    """Layer with the FFN units of ``keep``, (units,) bool, only."""
    changed = dict(layer)
    if keep.all():
        return changed
    changed["ffn/in/kernel"] = layer["ffn/in/kernel"][:, keep]
    changed["ffn/in/bias"] = layer["ffn/in/bias"][keep]
    kernel = layer["ffn/out/kernel"]
    constant = np.asarray(ACTIVATIONS[activation](jnp.asarray(layer["ffn/in/bias"][~keep])))
    changed["ffn/out/kernel"] = kernel[keep]
    changed["ffn/out/bias"] = _add_constant(layer["ffn/out/bias"], constant, kernel[~keep])
    return changed


def resized(
    config: EncoderConfig, heads: Sequence[np.ndarray], units: Sequence[np.ndarray]
) -> EncoderConfig:
    """Config of the layers with the ``heads`` and ``units``, (n,) bool per layer, that are kept.

    Equal widths become ``intermediate_size`` rather than ``ffn_per_layer``, so that other programs
    can read the folder; ``dense_intermediate_size`` keeps the old one, of which densities count.
    """
    pruned = []
    for i, keep in enumerate(heads):
        removed = config.pruned_heads[i] if config.pruned_heads else ()
        present = np.setdiff1d(np.arange(config.num_attention_heads), removed)
        pruned.append(tuple(sorted((*removed, *present[~keep].tolist()))))
    widths = {int(keep.sum()) for keep in units}
    plain = len(widths) == 1 and min(widths) > 0
    before = config.dense().intermediate_size
    extra = dict(config.extra)
    if plain and min(widths) < before:
        extra[DENSE_WIDTH] = before
    return replace(
        config,
        pruned_heads=tuple(pruned) if any(pruned) else (),
        intermediate_size=min(widths) if plain else config.intermediate_size,
        ffn_per_layer=None if plain else tuple(int(keep.sum()) for keep in units),
        extra=extra,
    )


def _add_constant(bias: np.ndarray, constant: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """``bias + constant @ kernel`` in float64, rounded once."""
    total = bias.astype(np.float64) + constant.astype(np.float64) @ kernel.astype(np.float64)
    return total.astype(bias.dtype)
