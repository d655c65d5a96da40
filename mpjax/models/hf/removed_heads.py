"""Folders whose config.json removes attention heads that their weights still have.

``transformers`` removed the heads of ``pruned_heads`` on loading until version 5, which ignores
the key; a model saved by it has weights of full size beside it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mpjax.files import shown
from mpjax.log import warn_once
from mpjax.models.config import EncoderConfig
from mpjax.models.families import FAMILIES


def without_heads(
    tensors: Mapping[str, np.ndarray], config: EncoderConfig, source: Path
) -> dict[str, np.ndarray]:
    """Tensors without the rows and columns of removed heads; those of pruned size stay.

    Args:
      tensors: Hugging Face names, with or without the body's prefix.
    """
    found, layers = dict(tensors), []
    for layer, heads in enumerate(config.pruned_heads):
        cut = _cut(tensors, config, layer) if heads else {}
        found |= cut
        layers += [str(layer)] if cut else []
    if layers:
        warn_once(
            f"pruned heads {source}",
            f"{shown(source)}: the weights still have the heads that pruned_heads in config.json "
            f"removes from layer {shown(', '.join(layers))}; they are left out",
        )
    return found


def _cut(
    tensors: Mapping[str, np.ndarray], config: EncoderConfig, layer: int
) -> dict[str, np.ndarray]:
    """Attention tensors of a layer without its removed heads; {} unless all are of full size."""
    size = config.hidden_size
    kept = np.ones((config.num_attention_heads, config.head_size), bool)
    kept[list(config.pruned_heads[layer])] = False
    features = kept.reshape(-1)
    cut = {}
    for name, rows in _names(config, layer).items():
        known = next((n for n in (name, name.partition(".")[2]) if n in tensors), None)
        if known is None or tensors[known].shape[0 if rows else -1 :][:1] != (size,):
            return {}
        cut[known] = tensors[known][features] if rows else tensors[known][:, features]
    return cut


def _names(config: EncoderConfig, layer: int) -> dict[str, bool]:
    """Tensors with a part for every head, and whether the parts are rows; else columns."""
    family = FAMILIES[config.model_type]
    modules = family.modules(config, "features")
    start = f"{family.prefix}/encoder/layer_{layer}/attention"
    rows = [
        f"{modules[f'{start}/{part}']}.{leaf}"
        for part in ("query", "key", "value")
        for leaf in ("weight", "bias")
    ]
    return dict.fromkeys(rows, True) | {f"{modules[f'{start}/output']}.weight": False}
