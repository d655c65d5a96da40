"""Shrinking: exact on random masks of every kind; saved, loaded and made dense again."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from experiments.bench import shrink as bench_shrink
from mpjax import models, sparse
from mpjax.cli import main
from mpjax.errors import InputError
from mpjax.export.dense import densify
from mpjax.export.inspect import inspect_model
from mpjax.export.latency import encoder_flops
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
    """Params without zeros, biases included."""
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
    """A head with all features dead, some at the value and the others at the output."""
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


@pytest.mark.slow
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
    full, plain = densify(small.params, small.config)
    assert not plain.pruned_heads and plain.ffn_per_layer is None
    np.testing.assert_allclose(logits(full, plain), expected, atol=2e-5 * scale)
    for i, gone in enumerate(small.config.pruned_heads):  # back in their places
        query = flatten_dict(full, sep="/")[layer(config, i, "attention/query")]
        present = query.any(axis=0).reshape(4, D).all(axis=1)
        if mask in (mask_values, mask_mixed_features):  # these leave the queries unmasked
            assert present.tolist() == [head not in gone for head in range(4)]
    if MASKS[mask] is not None:
        assert (small.config.pruned_heads, small.config.ffn_per_layer) == MASKS[mask]
    elif mask is mask_blocks:
        assert count < small.parameters_before
    # Nothing is left to remove.
    again = shrink(small.params, small.config)
    assert again.config == small.config and again.parameters_after == count


@pytest.mark.slow
def test_per_layer_sizes_survive_a_folder(tmp_path):
    config = replace(TINY, pruned_heads=((), (0, 1, 2, 3)), ffn_per_layer=(0, 7))
    params = unflatten_dict(noisy(config), sep="/")
    folder = models.save_model(tmp_path / "m", config, params, "qa")
    data = json.loads((folder / "config.json").read_text())
    assert data["heads_per_layer"] == [4, 0] and data["ffn_per_layer"] == [0, 7]
    assert data["pruned_heads"] == {"1": [0, 1, 2, 3]}
    model = models.load_model(folder, "qa")
    assert model.config == config
    np.testing.assert_array_equal(logits(model.params, model.config), logits(params, config))


def test_density_counts_of_the_dense_width_after_equal_widths(tmp_path):
    flat = noisy(TINY)
    for i in range(2):
        flat[layer(TINY, i, "ffn/in")][:, 4 + i : 9 + i] = 0
    params = unflatten_dict(flat, sep="/")
    before = inspect_model(models.save_model(tmp_path / "masked", TINY, params, "qa"))
    small = shrink(params, TINY)
    assert (small.config.intermediate_size, small.config.ffn_per_layer) == (15, None)
    after = inspect_model(models.save_model(tmp_path / "small", small.config, small.params, "qa"))
    # Of a removed unit the row of the second matrix goes too.
    removed = 2 * 2 * 5 * TINY.hidden_size
    matrices = 2 * (4 * TINY.hidden_size + 2 * 20) * TINY.hidden_size
    assert after.linear == 1 - removed / matrices and before.linear > after.linear
    # Shrunk again, to other widths, densities still count of the first one.
    kernel = small.params["bert"]["encoder"]["layer_0"]["ffn"]["in"]["kernel"]
    small.params["bert"]["encoder"]["layer_0"]["ffn"]["in"]["kernel"] = kernel.at[:, 0].set(0)
    again = shrink(small.params, small.config)
    assert again.config.ffn_per_layer == (14, 15)
    last = inspect_model(models.save_model(tmp_path / "again", again.config, again.params, "qa"))
    assert last.linear == 1 - (removed + 2 * TINY.hidden_size) / matrices


@pytest.mark.parametrize("width", [0, 19, "20", 20.0, True, [20], 1 << 25])
def test_a_dense_width_that_cannot_be_is_refused(width):
    with pytest.raises(InputError, match="dense_intermediate_size must be a whole number from"):
        models.BertConfig.from_dict({**SIZES, "dense_intermediate_size": width})


@pytest.mark.slow
def test_the_command_shrinks_and_measures(tmp_path, capsys):
    flat = noisy(TINY)
    mask_values(flat, TINY, None)
    params = unflatten_dict(flat, sep="/")
    folder = str(models.save_model(tmp_path / "m", TINY, params, "qa"))
    command = ["shrink", folder, "--output", str(tmp_path / "small"), "--max-length", "8"]
    assert main([*command, "--max-length", "99", "--measure"]) == 2
    assert "--max-length 99 is more than the 14" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
    assert main([*command, "--batch-size", "2", "--measure", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"]["heads_per_layer"] == [2, 0]
    assert told["removed"]["ffn_per_layer"] == [20, 0]
    latency = told["latency"]
    in_jax = {"dense", "masked", "shrunk"}
    in_torch = {"dense, torch", "masked, CSR", "shrunk, CSR"} if sparse.is_installed() else set()
    assert set(latency["seconds"]) == set(latency["flops"]) == in_jax | in_torch
    assert sum("CSR" in note for note in latency["notes"]) == (2 if in_torch else 1)
    assert latency["flops"]["dense"] == latency["flops"]["masked"]
    assert latency["reached"] == latency["speedup"] / latency["flops_ratio"]
    assert main(command) == 2
    assert "not empty" in capsys.readouterr().err
    table = [*command[:3], str(tmp_path / "again"), "--measure", "--batch-size", "1"]
    assert main([*table, "--max-length", "4"]) == 0
    printed = capsys.readouterr().out
    assert "2 of 4" in printed and "1 x 4 tokens" in printed and "as fast as dense" in printed


def test_arrays_that_stay_are_not_copied():
    flat = noisy(TINY)
    flat[layer(TINY, 1, "ffn/in")][:, 3] = 0
    params = jax.tree.map(jax.numpy.asarray, unflatten_dict(flat, sep="/"))
    before = flatten_dict(params, sep="/")
    after = flatten_dict(shrink(params, TINY).params, sep="/")
    changed = {path for path, leaf in after.items() if leaf is not before[path]}
    names = ("ffn/in/kernel", "ffn/in/bias", "ffn/out/kernel", "ffn/out/bias")
    assert changed == {f"bert/encoder/layer_1/{name}" for name in names}


def products(jaxpr):
    """Operations of all matrix products of a jaxpr, inner ones included."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = np.prod([eqn.invars[0].aval.shape[i] for i in contracted])
            total += 2 * int(inner * np.prod(eqn.outvars[0].aval.shape))
        for value in eqn.params.values():
            inside = getattr(value, "jaxpr", value)
            total += products(inside) if hasattr(inside, "eqns") else 0
    return total


def test_the_operations_counted_are_those_of_the_products():
    config = replace(TINY, pruned_heads=((2,), (0, 1, 2, 3)), ffn_per_layer=(5, 0))
    model = models.new_model(config, "qa")
    ids = np.ones((3, 9), np.int32)
    traced = jax.make_jaxpr(model.module.apply)({"params": model.params}, ids)
    head = 2 * 3 * 9 * 24 * 2
    assert products(traced.jaxpr) == encoder_flops(config, 3, 9) + head


@pytest.mark.slow
def test_the_benchmark_masks_about_the_density_asked_for(capsys):
    config = replace(TINY, num_attention_heads=6, intermediate_size=200)
    result = bench_shrink.run(config, density=0.25, batch_size=2, length=8)
    assert result["linear_density"] == pytest.approx(0.25, abs=0.05)
    assert result["flops"]["shrunk"] < result["flops"]["dense"]
    assert "as fast as dense" in capsys.readouterr().out
