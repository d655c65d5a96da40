"""Shrinking: exact on random masks of every kind, readable by us, dense again for others."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax import models
from mpjax.export.dense import densified
from mpjax.export.shrink import shrink

SIZES = {
    "vocab_size": 31,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 14,
    "initializer_range": 0.3,
}
TINY = models.BertConfig(**SIZES)
FAMILIES = {
    "bert": TINY,
    "relu": replace(TINY, hidden_act="relu"),
    "no_norm": replace(TINY, layer_norm_type="no_norm", initializer_range=0.1),
    "roberta": models.RobertaConfig(**SIZES),
    "distilbert": models.DistilBertConfig(**SIZES),
}
D = TINY.head_size


def noisy(config, head="qa", seed=0):
    """Params none of whose entries is zero, biases included."""
    rng = np.random.default_rng(seed)
    flat = flatten_dict(models.new_model(config, head).params, sep="/")
    noise = {p: 0.3 * rng.standard_normal(x.shape).astype(x.dtype) for p, x in flat.items()}
    return {p: np.asarray(x) + noise[p] for p, x in flat.items()}


def logits(params, config, head="qa"):
    rng = np.random.default_rng(9)
    ids = rng.integers(3, config.vocab_size, (3, 9))
    mask = np.arange(9)[None] < np.array([9, 5, 1])[:, None]
    module = models.encoder(config, head)
    return np.asarray(module.apply({"params": params}, ids, mask.astype(np.int32)))


def layer(config, i, name):
    return f"{models.FAMILIES[config.model_type].prefix}/encoder/layer_{i}/{name}/kernel"


def mask_blocks(flat, config, rng):
    """A share of the head-sized blocks of the four attention matrices, and of FFN columns."""
    for i in range(config.num_hidden_layers):
        for name in ("query", "key", "value", "output"):
            w = flat[layer(config, i, f"attention/{name}")]
            keep = rng.random((4, 4)) < 0.4
            w *= np.repeat(np.repeat(keep, D, 0), D, 1)
        for name, axis in (("ffn/in", 1), ("ffn/out", 0)):
            w = flat[layer(config, i, name)]
            w *= np.expand_dims(rng.random(w.shape[axis]) < 0.6, 1 - axis)


def mask_elements(flat, config, rng):
    """Single weights, so many that some columns die by chance."""
    for path, w in flat.items():
        if "/encoder/" in path and path.endswith("kernel"):
            w *= rng.random(w.shape) < 0.06


def mask_values(flat, config, rng):
    """Heads of layer 0 without values, all of layer 1 without outputs: layer 1 keeps no head."""
    flat[layer(config, 0, "attention/value")][:, : 2 * D] = 0
    flat[layer(config, 1, "attention/output")][:] = 0
    flat[layer(config, 1, "ffn/in")][:] = 0


def mask_mixed_features(flat, config, rng):
    """A head of which every feature is dead, some at the value and the others at the output."""
    flat[layer(config, 0, "attention/value")][:, D : D + 2] = 0
    flat[layer(config, 0, "attention/output")][D + 2 : 2 * D] = 0
    flat[layer(config, 1, "ffn/out")][:] = 0


def mask_queries(flat, config, rng):
    """Attention that cannot choose but still averages: nothing to remove."""
    flat[layer(config, 0, "attention/query")][:] = 0
    flat[layer(config, 1, "attention/key")][:] = 0
    flat[layer(config, 1, "attention/value")][:, 1:D] = 0
    flat[layer(config, 1, "ffn/in")][1:] = 0


MASKS = {
    mask_blocks: None,
    mask_elements: None,
    mask_values: (((0, 1), (0, 1, 2, 3)), (20, 0)),
    mask_mixed_features: (((1,), ()), (20, 0)),
    mask_queries: ((), None),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.__name__)
def test_a_shrunk_model_and_its_dense_form_give_the_masked_logits(mask, family):
    config = FAMILIES[family]
    flat = noisy(config)
    mask(flat, config, np.random.default_rng(4))
    masked = unflatten_dict(flat, sep="/")
    expected = logits(masked, config)
    small = shrink(masked, config)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits(small.params, small.config), expected, atol=2e-5 * scale)
    count = sum(x.size for x in jax.tree.leaves(small.params))
    assert (small.parameters_before, small.parameters_after) == (
        sum(x.size for x in flat.values()), count
    )  # fmt: skip
    full, plain = densified(small.params, small.config)
    assert not plain.pruned_heads and plain.ffn_per_layer is None
    np.testing.assert_allclose(logits(full, plain), expected, atol=2e-5 * scale)
    if MASKS[mask] is not None:
        assert (small.config.pruned_heads, small.config.ffn_per_layer) == MASKS[mask]
    elif mask is mask_blocks:
        assert count < small.parameters_before
    # Nothing is left to remove.
    again = shrink(small.params, small.config)
    assert again.config == small.config and again.parameters_after == count
