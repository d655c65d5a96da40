"""The sparse runtime: logits of every family and head, shrunk models, choice of form, commands."""

import importlib.util
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tiny
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax import models
from mpjax.cli import main
from mpjax.export.shrink import shrink
from mpjax.models.activations import ACTIVATIONS
from mpjax.sparse import sparse_model

torch = pytest.importorskip("torch")
from mpjax.sparse import forward, matrices  # noqa: E402

SIZES = {
    "vocab_size": 31,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,
}
BERT = models.BertConfig(**SIZES)
FAMILIES = {
    "bert": BERT,
    "one_type": replace(BERT, type_vocab_size=1),
    "relu": replace(BERT, hidden_act="relu"),
    "no_norm": replace(BERT, layer_norm_type="no_norm", initializer_range=0.1),
    "roberta": models.RobertaConfig(**SIZES),
    "distilbert": models.DistilBertConfig(**SIZES),
}


def made(config, head, density=0.3, seed=0):
    """A model with noise in every parameter and random zeros in the encoder matrices."""
    rng = np.random.default_rng(seed)
    model = models.new_model(config, head)
    flat = flatten_dict(model.params, sep="/")
    for path, leaf in flat.items():
        leaf = np.asarray(leaf) + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32)
        dropped = re.fullmatch(models.PRUNABLE, path) and rng.random(leaf.shape) >= density
        flat[path] = np.where(dropped, np.float32(0), leaf)
    return replace(model, params=unflatten_dict(flat, sep="/"))


def batch(config, lengths=(9, 5, 1), width=9):
    rng = np.random.default_rng(9)
    ids = rng.integers(3, config.vocab_size, (len(lengths), width), dtype=np.int32)
    mask = (np.arange(width)[None] < np.array(lengths)[:, None]).astype(np.int32)
    types = (np.arange(width)[None] >= 4).astype(np.int32) * mask
    ids = np.where(mask == 1, ids, config.pad_token_id).astype(np.int32)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def dense_logits(model, inputs):
    return np.asarray(model.module.apply({"params": model.params}, **inputs))


def check(model, inputs, choose=matrices.always_csr):
    ours = forward.convert(model, choose)(inputs)
    wanted = dense_logits(model, inputs)
    assert ours.shape == wanted.shape and ours.dtype == np.float32
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", ["classification", "qa"])
def test_logits_are_those_of_the_dense_model(family, head):
    config = FAMILIES[family]
    inputs = batch(config)
    if family == "distilbert":
        del inputs["token_type_ids"]
    check(made(config, head), inputs)


@pytest.mark.parametrize("head", ["tokens", "mlm", "features"])
def test_other_heads(head):
    check(made(BERT, head), batch(BERT))


def test_roberta_masked_language_head_has_its_own_activation():
    config = replace(FAMILIES["roberta"], hidden_act="relu")
    check(made(config, "mlm"), batch(config))


def test_slices_of_a_batch_are_put_together():
    rows = [40, 33, 7, 40, 1, 40, 40]  # 3 rows of 40 tokens at a time
    check(made(BERT, "tokens"), batch(BERT, rows, 40))
    check(made(BERT, "classification"), batch(BERT, rows, 40))


def test_without_mask_and_types():
    check(made(BERT, "qa"), {"input_ids": batch(BERT)["input_ids"]})


def test_zero_matrices_and_models_without_zeros():
    for density in (0.0, 1.0):
        check(made(BERT, "qa", density), batch(BERT))
        check(made(BERT, "qa", density), batch(BERT), matrices.keep_dense)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    ours = forward.ACTIVATIONS[name](torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours, ACTIVATIONS[name](x), atol=2e-6)


def test_shrunk_models_whose_layers_differ():
    model = made(BERT, "classification", 0.5)
    flat = flatten_dict(model.params, sep="/")
    layers = "bert/encoder/layer_"
    flat[f"{layers}0/attention/value/kernel"] = np.zeros((24, 24), np.float32)
    kernel = flat[f"{layers}1/attention/output/kernel"].copy()
    kernel[6:12] = 0
    flat[f"{layers}1/attention/output/kernel"] = kernel
    flat[f"{layers}1/ffn/in/kernel"] = np.zeros((24, 20), np.float32)
    model = replace(model, params=unflatten_dict(flat, sep="/"))
    small = shrink(model.params, BERT)
    config = small.config
    assert [config.heads(i) for i in (0, 1)] == [0, 3] and config.units(1) == 0
    shrunk = replace(model, config=config, params=small.params,
                     module=models.encoder(config, "classification"))  # fmt: skip
    check(shrunk, batch(BERT))
    wanted = dense_logits(model, batch(BERT))
    ours = sparse_model(shrunk)(batch(BERT))
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_the_faster_form_is_chosen_for_each_matrix():
    rng = np.random.default_rng(0)

    def matrix(density):
        dropped = rng.random((768, 768)) >= density
        return torch.tensor(np.where(dropped, 0, rng.standard_normal((768, 768))).astype("f"))

    torch.set_num_threads(2)
    thin, thick = matrices.faster(matrix(0.01)), matrices.faster(matrix(0.45))
    assert thin.is_csr and thin.csr < thin.dense and 0.009 < thin.density < 0.011
    assert not thick.is_csr and thick.csr > thick.dense
    full = matrices.faster(matrix(1.0))
    assert not full.is_csr and np.isnan(full.csr), "not timed"
    assert torch.get_num_threads() == 2
    said = matrices.summary({"a": thin, "b": thick})
    assert said.startswith("1 of 2 encoder matrices in CSR, 1.0% to 1.0% dense, whose products")
    assert matrices.summary({"b": thick}) == "0 of 1 encoder matrices in CSR"


def test_a_torch_without_the_product_stays_dense(monkeypatch):
    def missing(weight, x, bias):
        raise RuntimeError("addmm: not for this layout")

    monkeypatch.setattr(matrices, "product", missing)
    assert not matrices.faster(torch.eye(8)).is_csr


def test_an_unknown_family_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(models.BertConfig, "model_type", "other")
    with pytest.raises(Exception, match="other has no sparse runtime; known: bert"):
        forward.convert(made_stub(), matrices.keep_dense)


def made_stub():
    return models.Model(BERT, models.encoder, {}, None, (), "qa")  # pyright: ignore


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A classifier of the toy language with zeros, and its data."""
    root = tmp_path_factory.mktemp("scored")
    tiny.model(root / "model")
    data = tiny.data(root / "data")
    config = replace(models.read_config(root / "model"), id2label=("negative", "positive"))
    model = made(config, "classification")
    folder = models.save_model(
        root / "classifier", config, model.params, "classification", root / "tokenizer"
    )
    return ["evaluate", "--model", str(folder), "--task", "sst2", "--data", str(data),
            "--max-length", "24", "--batch-size", "5", "--cache", "none"]  # fmt: skip


def test_evaluate_gives_the_same_result(scored, capsys, tmp_path):
    told, rows = [], []
    for runtime in ("dense", "sparse"):
        file = tmp_path / f"{runtime}.tsv"
        assert main([*scored, "--runtime", runtime, "--predictions", str(file)]) == 0
        told.append(json.loads(capsys.readouterr().out))
        rows.append(file.read_text())
    assert told[0] == told[1] and told[0]["rows"] == 16
    assert rows[0] == rows[1]


def test_evaluate_refuses(scored, capsys, monkeypatch):
    assert main([*scored, "--runtime", "sparse", "--dtype", "bfloat16"]) == 2
    assert "--runtime sparse computes in float32" in capsys.readouterr().err
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "torch" else found(name, *a)
    )
    before_data = [*scored, "--data", "nowhere", "--runtime", "sparse"]
    assert main(before_data) == 2
    assert "pip install 'mpjax[sparse]'" in capsys.readouterr().err
