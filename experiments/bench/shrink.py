"""Speed of a shrunk model beside dense, on random structured masks."""

from dataclasses import replace
from typing import Any

import numpy as np

from mpjax import models
from mpjax.export.latency import measure_latency
from mpjax.export.shrink import shrink
from mpjax.pruning import flatten, linear_density, unflatten

LIVE = 0.5  # share of the blocks kept in a kept head; whole heads make up the rest of the sparsity


def hybrid_masks(params: Any, config: models.EncoderConfig, density: float, seed: int = 0) -> Any:
    """``params`` with random hybrid masks of about ``density`` in every prunable matrix.

    Attention: whole heads are zero, and in the others half of the blocks (of half a head's size),
    as block movement pruning leaves them. FFN: whole units are zero.
    """
    rng, flat = np.random.default_rng(seed), dict(flatten(params))
    prefix = models.FAMILIES[config.model_type].prefix
    heads, size = config.num_attention_heads, config.head_size
    side = size // 2
    for i in range(config.num_hidden_layers):
        layer = f"{prefix}/encoder/layer_{i}/"
        keep = np.zeros(heads, bool)
        keep[rng.permutation(heads)[: round(heads * density / LIVE)]] = True
        for name in ("query", "key", "value", "output"):
            path = f"{layer}attention/{name}/kernel"
            grid = rng.random((config.hidden_size // side, config.hidden_size // side)) < LIVE
            blocks = np.repeat(np.repeat(grid, side, 0), side, 1)
            features = np.repeat(keep, size)
            alive = features[:, None] if name == "output" else features[None, :]
            flat[path] = np.asarray(flat[path]) * (blocks & alive)
        units = rng.random(config.intermediate_size) < density
        for path, alive in (("ffn/in", units[None, :]), ("ffn/out", units[:, None])):
            flat[f"{layer}{path}/kernel"] = np.asarray(flat[f"{layer}{path}/kernel"]) * alive
    return unflatten(flat)


def run(
    config: models.EncoderConfig, density: float, batch_size: int, length: int
) -> dict[str, Any]:
    """Masks, shrinks and times a random model; prints the table and returns its numbers."""
    dense = models.new_model(config, "classification")
    masked = replace(dense, params=hybrid_masks(dense.params, config, density))
    small = shrink(masked.params, config)
    module = models.encoder(small.config, "classification")
    shrunk = replace(masked, config=small.config, params=small.params, module=module)
    kept = linear_density(masked.params, models.PRUNABLE)
    latency = measure_latency(masked, shrunk, batch_size, length)
    print(f"random hybrid masks, {100 * kept:.1f}% linear density")
    print(latency.table())
    return {"linear_density": kept, **latency.to_json()}
