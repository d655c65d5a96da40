"""`--freeze`: groups of parameters that stay as they are, byte for byte."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file

from mpjax import models
from mpjax.config.length import run_length
from mpjax.config.resolve import resolve
from mpjax.errors import InputError
from mpjax.models.hf.weights import shapes
from mpjax.optim import ClipState, find_state
from mpjax.pruning import Pruning, make_rule
from mpjax.training.build import make_optimizers
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")

SMALL = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("family", tiny.CONFIGS)
def test_every_parameter_is_in_one_group(family, head):
    groups = {name: set() for name in models.GROUPS}
    for path in shapes(tiny.CONFIGS[family](**SMALL, intermediate_size=16), head):
        [name] = [n for n, where in models.GROUPS.items() if re.fullmatch(where, path)]
        groups[name].add(path)
    assert all(f"{family}/embeddings/" in path for path in groups["embeddings"])
    assert all(f"{family}/encoder/layer_" in path for path in groups["weights"])
    assert len(groups["weights"]) == 2 * 2 * 8  # layers, kernels and biases, modules
    tops = {path.split("/")[0] for path in groups["head"]}
    expected = {
        "classification": {"classifier"} if family == "bert" else {"classifier", "pre_classifier"},
        "tokens": {"classifier"},
        "qa": {"qa"},
        "mlm": {"mlm"},
        "features": set(),
    }
    assert tops - {family} == expected[head]
    assert all("/pooler/" in path for path in groups["head"] if path.startswith(family))


@pytest.mark.parametrize("freeze", ["weights", "head", "weights,head"])
def test_frozen_gradients_are_outside_the_clip_norm(freeze, tmp_path):
    config = resolve(tiny.config(tmp_path, freeze=freeze, method="movement", density=0.5))
    pruning = Pruning(make_rule("movement"), models.PRUNABLE)
    tx = make_optimizers(config, pruning, run_length(config, 1))(None)
    kernel = {"query": {"kernel": jnp.full((2, 2), 3.0)}}
    params = {
        "bert": {"encoder": {"layer_0": {"attention": kernel}}, "pooler": {"bias": jnp.ones(4)}}
    }
    variables = {"params": params, "scores": pruning.init_scores(params)}
    _, state = tx.update(jax.tree.map(jnp.ones_like, variables), tx.init(variables), variables)
    trained = 4 + 4 * ("weights" not in freeze) + 4 * ("head" not in freeze)  # scores, and others
    clip = find_state(state, ClipState)
    assert clip is not None and float(clip.norm) == pytest.approx(trained**0.5)


def tensors(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_frozen_parameters_are_byte_for_byte_those_of_the_model(tmp_path):
    dense = {"method": "dense", "density": None, "output": str(tmp_path / "dense")}
    train(tiny.config(tmp_path, **dense, freeze="weights"))
    start, tuned = tensors(tmp_path / "model"), tensors(tmp_path / "dense" / "model")
    layers = [name for name in start if ".layer." in name]
    assert layers and all(start[n].tobytes() == tuned[n].tobytes() for n in layers)
    changed = {"model": str(tmp_path / "dense" / "model"), "score_learning_rate": 1.0}
    train(tiny.config(tmp_path, **changed, freeze="weights,head"))
    pruned = tensors(tmp_path / "run" / "model")
    masks = []
    for name, before in tuned.items():
        after = pruned[name]
        if ".layer." not in name or before.ndim < 2:
            assert after.tobytes() == before.tobytes(), name
            continue
        masks.append((after != 0).ravel())
        assert masks[-1].sum() == int(0.3 * before.size)
        np.testing.assert_array_equal(after[after != 0], before[after != 0])
    first = [np.arange(m.size) < m.sum() for m in masks]  # masks of scores that are all equal
    assert any(not np.array_equal(m, f) for m, f in zip(masks, first, strict=True))
    head = [n for n in tuned if n.startswith("classifier")]
    train(tiny.config(tmp_path, **(changed | {"output": str(tmp_path / "two")}), freeze="weights"))
    other = tensors(tmp_path / "two" / "model")
    assert head and all(other[n].tobytes() != tuned[n].tobytes() for n in head)


@pytest.mark.slow
def test_a_random_head_is_not_frozen(tmp_path):
    with pytest.raises(InputError, match=r"--freeze head: .*/model has no trained head for sst2"):
        train(tiny.config(tmp_path, freeze="head"))
    assert not (tmp_path / "run").exists()
