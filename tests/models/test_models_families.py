"""RoBERTa and DistilBERT: equal to transformers, and to BERT where architectures agree; runs."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file
from test_models_bert import apply, primitives, random_model
from test_models_folder import (
    assert_same,
    fresh_parts,
    numbered,
    old_spelling,
    reconfigure,
    rewrite,
)

from mpjax import cli, models, tasks
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.export import export_model
from mpjax.models.families.roberta import RobertaEmbeddings
from mpjax.models.hf.weights import shapes
from mpjax.report.density import measure
from mpjax.training.evaluate import evaluate
from mpjax.training.prepare import prepare
from mpjax.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs")]

SIZES = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "initializer_range": 0.2,  # large enough that every part shows in the logits
    "id2label": ("a", "b", "c"),
}
TINY = {
    "roberta": models.RobertaConfig(**SIZES, type_vocab_size=1, layer_norm_eps=1e-5),
    "distilbert": models.DistilBertConfig(**SIZES),
}
FAMILIES = list(TINY)
CONFIGS = [
    TINY["roberta"],
    replace(TINY["roberta"], hidden_act="relu", pad_token_id=4, type_vocab_size=3),
    replace(TINY["roberta"], pad_token_id=0, num_hidden_layers=1, id2label=("only",)),
    TINY["distilbert"],
    replace(TINY["distilbert"], hidden_act="relu", num_hidden_layers=3, vocab_size=17),
    replace(TINY["distilbert"], hidden_size=35, num_attention_heads=5, id2label=("only",)),
]
# (our path, the name in a folder) of tensors whose names differ between families.
NAMES = {
    "roberta": {
        "classification": [
            ("pre_classifier/kernel", "classifier.dense.weight"),
            ("classifier/bias", "classifier.out_proj.bias"),
            (
                "roberta/encoder/layer_1/attention/key/kernel",
                "roberta.encoder.layer.1.attention.self.key.weight",
            ),
        ],
        "tokens": [("classifier/kernel", "classifier.weight")],
        "qa": [("qa/kernel", "qa_outputs.weight")],
        "mlm": [("mlm/norm/scale", "lm_head.layer_norm.weight"), ("mlm/bias", "lm_head.bias")],
        "features": [
            ("roberta/pooler/kernel", "pooler.dense.weight"),
            ("roberta/embeddings/token_type/embedding", "embeddings.token_type_embeddings.weight"),
        ],
    },
    "distilbert": {
        "classification": [
            ("pre_classifier/kernel", "pre_classifier.weight"),
            ("classifier/kernel", "classifier.weight"),
            (
                "distilbert/encoder/layer_1/attention/output/kernel",
                "distilbert.transformer.layer.1.attention.out_lin.weight",
            ),
        ],
        "tokens": [("classifier/bias", "classifier.bias")],
        "qa": [("qa/bias", "qa_outputs.bias")],
        "mlm": [
            ("mlm/dense/kernel", "vocab_transform.weight"),
            ("mlm/norm/bias", "vocab_layer_norm.bias"),
            ("mlm/bias", "vocab_projector.bias"),
        ],
        "features": [
            ("distilbert/encoder/layer_0/ffn/out/kernel", "transformer.layer.0.ffn.lin2.weight"),
            (
                "distilbert/encoder/layer_0/ffn/norm/scale",
                "transformer.layer.0.output_layer_norm.weight",
            ),
        ],
    },
}


def batch_for(config, seed=0, length=13):
    """Ids and mask (B, L) of rows with padding right, left, between, without a mask, and none."""
    rng = np.random.default_rng(seed)
    pad = config.pad_token_id
    ids = rng.integers(0, config.vocab_size, (6, length))
    ids[ids == pad] = pad + 1
    mask = np.ones_like(ids)
    mask[1, 1:], mask[2, 5:], mask[3, :4], mask[4, 6:8] = 0, 0, 0, 0
    ids = np.where(mask == 1, ids, pad)
    ids[5, 9:] = pad  # attended to, and still padding to what counts positions
    ids[2, 6] = pad + 2  # not attended to, and still counted
    return ids.astype(np.int32), mask.astype(np.int32)


def types_for(config, ids):
    """(token types,), or () for a model with fewer than two."""
    if config.token_types < 2:
        return ()
    return (np.random.default_rng(1).integers(0, config.token_types, ids.shape).astype(np.int32),)


def reference(folder, head, **kwargs):
    """Model that transformers loads from a folder, its class chosen by transformers."""
    transformers = pytest.importorskip("transformers")
    auto = {
        "classification": transformers.AutoModelForSequenceClassification,
        "tokens": transformers.AutoModelForTokenClassification,
        "qa": transformers.AutoModelForQuestionAnswering,
        "mlm": transformers.AutoModelForMaskedLM,
        "features": transformers.AutoModel,
    }[head]
    return auto.from_pretrained(folder, attn_implementation="eager", **kwargs)


def torch_logits(module, head, **inputs):
    import torch

    with torch.no_grad():
        out = module.eval()(**{k: torch.tensor(np.asarray(v, np.int64)) for k, v in inputs.items()})
    if head == "qa":
        return torch.stack([out.start_logits, out.end_logits], -1).numpy()
    return (out.last_hidden_state if head == "features" else out.logits).numpy()


def check_parity(config, head, dtype, tolerance, folder):
    torch = pytest.importorskip("torch")
    model = random_model(config, head, dtype)
    models.save_model(folder, config, model.params, head)
    model = models.load_model(folder, head, param_dtype=dtype)
    ids, mask = batch_for(config)
    types = types_for(config, ids)
    ours = apply(model, ids, mask, *types)
    module = reference(folder, head).to(getattr(torch, np.dtype(dtype).name))
    named = {"input_ids": ids, "attention_mask": mask} | dict(
        zip(["token_type_ids"], types, strict=False)
    )
    assert ours.dtype == np.dtype(dtype)
    np.testing.assert_allclose(ours, torch_logits(module, head, **named), rtol=0, atol=tolerance)
    # And without a mask: RoBERTa tells padding by its id alone.
    named.pop("attention_mask")
    ours = apply(model, ids, None, *types)
    np.testing.assert_allclose(ours, torch_logits(module, head, **named), rtol=0, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_float64_logits_equal_transformers(config, head, x64, tmp_path):
    check_parity(config, head, jnp.float64, 1e-9, tmp_path / "m")


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_logits_equal_transformers(family, head, tmp_path):
    config = replace(TINY[family], initializer_range=0.05)
    check_parity(config, head, jnp.float32, 2e-5, tmp_path / "m")


# Without PyTorch: where architectures agree, the families equal BERT.


def as_bert(model, head, **changes):
    """BERT with the parameters of a model, some replaced or added by path."""
    c = model.config
    sizes = {name: getattr(c, name) for name in SIZES}
    config = models.BertConfig(**sizes, layer_norm_eps=c.norm_epsilon, hidden_act=c.hidden_act)
    flat = flatten_dict(model.params, sep="/")
    flat = {p.replace(f"{c.model_type}/", "bert/", 1): x for p, x in flat.items()} | changes
    config = replace(
        config,
        max_position_embeddings=len(flat["bert/embeddings/position/embedding"]),
        type_vocab_size=len(flat["bert/embeddings/token_type/embedding"]),
    )
    bert = models.new_model(config, head, param_dtype=jnp.float64)
    assert {p for p in flatten_dict(bert.params, sep="/") if "pooler" not in p} <= set(flat)
    return replace(bert, params=unflatten_dict({**flat}, sep="/"))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["qa", "mlm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_float64_logits_equal_those_of_a_bert(family, head, x64):
    model = random_model(TINY[family], head, jnp.float64)
    tables = model.params[family]["embeddings"]
    position = tables["position"]["embedding"]
    if family == "roberta":  # pad_token_id 1: words begin in the third row
        changes = {"bert/embeddings/position/embedding": position[2:]}
    else:
        zeros = jnp.zeros((1, SIZES["hidden_size"]))
        changes = {"bert/embeddings/token_type/embedding": zeros}
    ids = np.random.default_rng(0).integers(2, 61, (4, 9)).astype(np.int32)
    mask = (np.arange(9) < np.array([[9], [1], [4], [7]])).astype(np.int32)
    bert = as_bert(model, head, **changes)
    np.testing.assert_allclose(apply(model, ids, mask), apply(bert, ids, mask), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_classifiers_are_what_their_papers_say(x64):
    ids, mask = batch_for(TINY["roberta"])
    for family, squash in (("roberta", np.tanh), ("distilbert", lambda x: np.maximum(x, 0))):
        model = random_model(TINY[family], "classification", jnp.float64)
        body = models.encoder(TINY[family], "features", jnp.float64, jnp.float64)
        params = {"params": model.params}
        if family == "roberta":  # whose bare body has a pooler that is not used
            pooler = {"kernel": jnp.zeros((24, 24)), "bias": jnp.zeros(24)}
            params = {"params": {"roberta": {**model.params["roberta"], "pooler": pooler}}}
        first = np.asarray(body.apply(params, ids, mask))[:, 0]
        p, q = (
            {leaf: np.asarray(x) for leaf, x in model.params[name].items()}
            for name in ("pre_classifier", "classifier")
        )
        hidden = squash(first @ p["kernel"] + p["bias"])
        expected = hidden @ q["kernel"] + q["bias"]
        np.testing.assert_allclose(apply(model, ids, mask), expected, rtol=0, atol=1e-12)


def test_roberta_counts_words_and_not_padding():
    embeddings = RobertaEmbeddings(TINY["roberta"])
    ids = jnp.array([[5, 6, 7, 1, 1], [1, 1, 5, 6, 7], [5, 1, 6, 1, 7], [1, 1, 1, 1, 1]])
    expected = [[2, 3, 4, 1, 1], [1, 1, 2, 3, 4], [2, 1, 3, 1, 4], [1, 1, 1, 1, 1]]
    np.testing.assert_array_equal(embeddings.positions(ids), expected)
    other = RobertaEmbeddings(replace(TINY["roberta"], pad_token_id=5))
    np.testing.assert_array_equal(other.positions(ids[:1]), [[5, 6, 7, 8, 9]])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_token_types_do_nothing_where_there_is_at_most_one(family):
    model = random_model(TINY[family], "classification")
    ids, mask = batch_for(model.config)
    expected = apply(model, ids, mask)
    np.testing.assert_array_equal(apply(model, ids, mask, np.ones_like(ids)), expected)


# Dropout: how often, and in RoBERTa's head on both sides of the tanh.


def order(jaxpr, names):
    """Equations of some primitives in order of execution, inner jaxprs included."""
    found = []
    for eqn in jaxpr.eqns:
        found += [eqn.primitive.name] if eqn.primitive.name in names else []
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            found += order(inner, names) if hasattr(inner, "eqns") else []
    return found


def trace(config, head, deterministic=False):
    model = models.new_model(config, head)
    inputs = batch_for(config)

    def run(params, key):
        return model.module.apply(
            {"params": params}, *inputs, deterministic=deterministic, rngs={"dropout": key}
        )

    return jax.make_jaxpr(run)(model.params, jax.random.key(0)).jaxpr


ROBERTA_RATES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
DISTILBERT_RATES = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "seq_classif_dropout",
    "qa_dropout",
)


@pytest.mark.parametrize(
    ("family", "rate", "sites"),
    # Sites with 2 layers: of classification, tokens, qa, mlm, features.
    [
        ("roberta", "hidden_dropout_prob", (5, 5, 5, 5, 5)),
        ("roberta", "attention_probs_dropout_prob", (2, 2, 2, 2, 2)),
        ("roberta", "classifier_dropout", (2, 1, 0, 0, 0)),
        ("distilbert", "hidden_dropout_prob", (3, 4, 3, 3, 3)),
        ("distilbert", "attention_probs_dropout_prob", (2, 2, 2, 2, 2)),
        ("distilbert", "seq_classif_dropout", (1, 0, 0, 0, 0)),
        ("distilbert", "qa_dropout", (0, 0, 1, 0, 0)),
    ],
)
def test_every_rate_has_its_places(family, rate, sites):
    rates = ROBERTA_RATES if family == "roberta" else DISTILBERT_RATES
    config = replace(TINY[family], **(dict.fromkeys(rates, 0.0) | {rate: 0.1}))
    found = tuple(len(primitives(trace(config, h), "random_bits")) for h in models.HEADS)
    assert found == sites
    assert not primitives(trace(config, "qa", deterministic=True), "random_bits")


def test_dropout_of_the_heads_is_before_and_after_the_activation():
    off = dict.fromkeys(ROBERTA_RATES[:2], 0.0)
    config = replace(TINY["roberta"], **off, classifier_dropout=0.5)
    places = order(trace(config, "classification"), ("random_bits", "tanh"))
    assert places == ["random_bits", "tanh", "random_bits"]
    config = replace(TINY["distilbert"], **off, seq_classif_dropout=0.5, hidden_act="silu")
    places = order(trace(config, "classification"), ("random_bits", "max", "dot_general"))
    assert places[-4:] == ["dot_general", "max", "random_bits", "dot_general"]
    # None means the other rate.
    config = replace(TINY["roberta"], hidden_dropout_prob=0.1, classifier_dropout=None)
    assert config.head_dropout == 0.1


# Folders.


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_folders_go_to_transformers_and_back(family, head, tmp_path):
    pytest.importorskip("torch")
    config, params = TINY[family], numbered(TINY[family], head)
    folder = models.save_model(tmp_path / "m", config, params, head)
    names = models.torch_names(config, head)
    stored = load_file(folder / "model.safetensors")
    assert sorted(names.values()) == sorted(stored)
    flat = flatten_dict(params, sep="/")
    for path, name in NAMES[family][head]:
        assert names[path] == name
        expected = flat[path].T if path.endswith("/kernel") else flat[path]
        np.testing.assert_array_equal(stored[name], expected)
    assert_same(models.load_model(folder, head).params, params)

    module, info = reference(folder, head, output_loading_info=True)
    assert not any(info.values()), info
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    assert type(module).__name__ == architecture
    module.save_pretrained(tmp_path / "theirs")
    model = models.load_model(tmp_path / "theirs", head)
    assert_same(model.params, params)
    assert model.fresh == model.unused == ()
    for name in SIZES.keys() - {"id2label"}:
        assert getattr(model.config, name) == getattr(config, name), name


@pytest.mark.parametrize("family", FAMILIES)
def test_config_json_has_the_keys_of_the_family(family):
    config = replace(TINY[family], extra={"note": [1]})
    data = json.loads(json.dumps(config.to_dict()))
    assert type(config).from_dict(data) == config
    assert data["model_type"] == family and data["note"] == [1]
    pytest.importorskip("torch")
    from transformers import AutoConfig

    theirs = AutoConfig.for_model(**data).to_dict()
    assert {k: theirs[k] for k in data if k not in ("id2label", "label2id")} == {
        k: v for k, v in data.items() if k not in ("id2label", "label2id")
    }
    # Absent keys mean what they mean there.
    absent, default = AutoConfig.for_model(family).to_dict(), type(config)().to_dict()
    assert {k: absent[k] for k in default if k != "id2label"} == default


def test_distilbert_reads_what_transformers_reads_under_other_names():
    read = models.DistilBertConfig.from_dict
    berts = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 1}
    assert read(berts) == read({"dim": 24, "n_heads": 3, "n_layers": 1})
    assert read(berts | {"dim": 36}).hidden_size == 36
    assert read(berts).extra == {}
    assert read({"intermediate_size": 5}).intermediate_size == 3072


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("roberta", {"pad_token_id": None}, "pad_token_id must be a whole number.*found None"),
        ("roberta", {"max_position_embeddings": 2}, "max_position_embeddings 2 leaves no position"),
        ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type is"),
        ("roberta", {"is_decoder": True}, "is_decoder is True"),
        ("roberta", {"classifier_dropout": 1.5}, "classifier_dropout must be a number from 0"),
        ("roberta", {"type_vocab_size": 0}, "type_vocab_size must be a positive whole number"),
        ("distilbert", {"seq_classif_dropout": None}, "seq_classif_dropout must be a number from"),
        ("distilbert", {"n_heads": 5}, "dim 24 is not a multiple of n_heads 5"),
        ("distilbert", {"hidden_dim": 0}, "hidden_dim must be a positive whole number, found 0"),
        ("distilbert", {"activation": "mish"}, "activation 'mish' is not supported; known: gelu"),
        ("distilbert", {"qa_dropout": 1}, "qa_dropout must be a number from 0 to below 1"),
        ("distilbert", {"pruned_heads": {"0": [7]}}, r"pruned_heads removes \[7\] from layer '0'"),
    ],
)
def test_configs_that_cannot_be_are_refused_by_key(family, changes, message, tmp_path):
    folder = models.save_model(tmp_path / "m", TINY[family], numbered(TINY[family], "qa"), "qa")
    reconfigure(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        models.load_model(folder, "qa")
    assert str(folder / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("roberta", "roberta.encoder.layer.1.attention.self.query.weight"),
        ("distilbert", "distilbert.transformer.layer.1.attention.q_lin.weight"),
    ],
)
def test_wrong_weights_are_refused_by_name(family, name, tmp_path):
    config = TINY[family]
    folder = models.save_model(tmp_path / "m", config, numbered(config, "qa"), "qa")
    more = name.replace("layer.1", "layer.2")
    rewrite(folder, lambda t: t | {more: t[name].copy()})
    with pytest.raises(InputError, match=f"tensor {re.escape(more)} has no place"):
        models.load_model(folder, "qa")
    rewrite(folder, lambda t: {k: v for k, v in t.items() if k not in (more, name)})
    with pytest.raises(InputError, match=f"has no tensor {re.escape(name)}, which a {family}"):
        models.load_model(folder, "qa")


@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_prefixes_and_position_buffers_do_not_matter(family, head, tmp_path):
    params = numbered(TINY[family], head)
    folder = models.save_model(tmp_path / "m", TINY[family], params, head)
    ids = {f"{family}.embeddings.position_ids": np.arange(20)[None]}
    rewrite(folder, lambda t: {k.removeprefix(f"{family}."): v for k, v in t.items()} | ids)
    model = models.load_model(folder, head)
    assert_same(model.params, params)
    assert model.fresh == model.unused == ()
    if family == "roberta":
        rewrite(folder, old_spelling)
        assert_same(models.load_model(folder, head).params, params)


def test_a_pretrained_roberta_becomes_a_classifier(tmp_path):
    """Spelled as on the hub: with an unused pooler and a copy of the decoder."""
    config = TINY["roberta"]
    params = numbered(config, "mlm")
    folder = models.save_model(tmp_path / "m", config, params, "mlm")
    words = "roberta.embeddings.word_embeddings.weight"
    pooler = {f"roberta.pooler.dense.{k}": np.ones((24, 24)[:n], np.float32)
              for k, n in (("weight", 2), ("bias", 1))}  # fmt: skip
    rewrite(
        folder,
        lambda t: (
            t
            | pooler
            | {
                "lm_head.decoder.weight": t[words].copy(),
                "lm_head.decoder.bias": t["lm_head.bias"] + 0,
            }
        ),
    )
    assert_same(models.load_model(folder, "mlm").params, params)
    model = models.load_model(folder, "classification", labels=["x", "y"])
    assert fresh_parts(model) == {"pre_classifier", "classifier"}
    assert set(pooler) <= set(model.unused)
    assert fresh_parts(models.load_model(folder, "qa")) == {"qa"}
    assert models.load_model(folder, "features").fresh == ()
    np.testing.assert_array_equal(
        models.load_model(folder, "features").params["roberta"]["pooler"]["kernel"],
        np.ones((24, 24)),
    )
    rewrite(folder, lambda t: {k: v for k, v in t.items() if k != "lm_head.bias"})
    assert_same(models.load_model(folder, "mlm").params, params)  # the copy alone will do


@pytest.mark.parametrize(
    ("family", "copy", "original"),
    [
        ("roberta", "lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
        ("roberta", "lm_head.decoder.bias", "lm_head.bias"),
        ("distilbert", "vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight"),
    ],
)
def test_tied_copies_are_accepted_and_untied_ones_refused(family, copy, original, tmp_path):
    params = numbered(TINY[family], "mlm")
    folder = models.save_model(tmp_path / "m", TINY[family], params, "mlm")
    rewrite(folder, lambda t: t | {copy: t[original].copy()})
    assert_same(models.load_model(folder, "mlm").params, params)
    rewrite(folder, lambda t: t | {copy: t[original] + 1})
    with pytest.raises(InputError, match=f"{copy} differs from {original}"):
        models.load_model(folder, "mlm")
    models.load_model(folder, "qa")  # which has no use for it


@pytest.mark.parametrize("family", ["bert", *FAMILIES])
def test_what_is_written_is_tied_whatever_was_read(family, tmp_path):
    pytest.importorskip("torch")
    config = tiny.CONFIGS[family](**SIZES, extra={"tie_word_embeddings": False})
    params = models.new_model(config, "mlm").params
    folder = models.save_model(tmp_path / "m", config, params, "mlm")
    _, info = reference(folder, "mlm", output_loading_info=True)
    assert not any(info.values()), info


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_in_another_order_or_number(family, tmp_path):
    params = numbered(TINY[family], "classification")
    folder = models.save_model(tmp_path / "m", TINY[family], params, "classification")
    model = models.load_model(folder, "classification", labels=["c", "a", "b"])
    for leaf in ("kernel", "bias"):
        old, new = params["classifier"][leaf], model.params["classifier"][leaf]
        np.testing.assert_array_equal(new, old[..., jnp.array([2, 0, 1])])
    assert_same(model.params["pre_classifier"], params["pre_classifier"])
    assert fresh_parts(models.load_model(folder, "classification", labels=["x"])) == {"classifier"}


# Pruning.


@pytest.mark.parametrize("head", models.HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_patterns_pick_the_six_matrices_and_the_embeddings(family, head):
    config = TINY[family]
    flat = dict(shapes(config, head))
    prunable = [p for p in flat if re.fullmatch(models.PRUNABLE, p)]
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    assert len(prunable) == 6 * layers
    assert sum(np.prod(flat[p]) for p in prunable) == layers * (4 * hidden**2 + 2 * hidden * inner)
    tables = {"word/embedding", "position/embedding", "norm/scale", "norm/bias"}
    tables |= {"token_type/embedding"} if family == "roberta" else set()
    frozen = {p for p in flat if re.fullmatch(models.FROZEN, p)}
    assert frozen == {f"{family}/embeddings/{leaf}" for leaf in tables}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_report_counts_the_encoder_and_nothing_else(family):
    model = random_model(TINY[family], "classification")
    flat = flatten_dict(model.params, sep="/")
    path = f"{family}/encoder/layer_1/ffn/in/kernel"
    flat[path] = flat[path].at[:, 1:].set(0.0)
    params = unflatten_dict(flat, sep="/")
    report = measure(models.to_torch_names(params, model.config, "classification")).to_json()
    inside = {p: x for p, x in flat.items() if "/encoder/" in p}
    assert report["encoder_parameters"] == sum(x.size for x in inside.values())
    assert report["prunable_weights"] == sum(x.size for x in inside.values() if x.ndim == 2)
    assert list(report["types"]) == ["query", "key", "value", "attn out", "ffn in", "ffn out"]
    assert report["layers"][1]["matrices"]["ffn in"] == 1 / 40
    assert report["types"]["ffn out"] == 1.0


# Runs.


@pytest.mark.slow
def test_inputs_that_are_too_long_name_what_is_possible():
    roberta, distilbert = (random_model(TINY[family], "qa") for family in FAMILIES)
    ids = np.full((1, 18), 5, np.int32)
    assert np.isfinite(apply(roberta, ids)).all() and np.isfinite(apply(distilbert, ids)).all()
    with pytest.raises(InputError, match=r"19 tokens long .* 18 positions for tokens; .*most 18"):
        apply(roberta, np.full((1, 19), 5, np.int32))
    assert np.isfinite(apply(distilbert, np.full((1, 20), 5, np.int32))).all()
    with pytest.raises(InputError, match=r"21 tokens long .* 20 positions"):
        apply(distilbert, np.full((1, 21), 5, np.int32))


@pytest.fixture(scope="module", params=FAMILIES)
def start(request, tmp_path_factory):
    """(family, pretrained folder with a tokenizer of its kind)."""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, tiny.model(root / "model", request.param, max_position_embeddings=50)


def demo_config(folder, output, task, **changes):
    options = {
        "model": str(folder),
        "task": task,
        "output": str(output),
        "method": "movement",
        "density": 0.3,
        "steps": 1,
        "warmup": 0,
        "batch_size": 4,
        "max_length": 48,
        "limit_train": 8,
        "limit_eval": 4,
        "single_length": True,
        "devices": 1,
        "cache": "none",
    }
    return TrainConfig(**(options | changes))


def test_max_length_is_checked_before_anything_is_compiled(start, tmp_path):
    family, folder = start
    most = 48 if family == "roberta" else 50
    fits = demo_config(folder, tmp_path / "run", "demo_sentiment", max_length=most)
    prepare(resolve(fits))
    message = f"--max-length {most + 1} is more than the {most} positions for tokens"
    with pytest.raises(InputError, match=message):
        prepare(resolve(replace(fits, max_length=most + 1)))
    assert not (tmp_path / "run").exists()


def test_the_tokenizer_is_of_the_familys_kind(start):
    family, folder = start
    tokenizer = models.load_tokenizer(folder)
    name = {"roberta": "RobertaTokenizer", "distilbert": "DistilBertTokenizer"}[family]
    assert type(tokenizer).__name__ == name and tokenizer.is_fast
    assert tokenizer.pad_token_id == models.load_model(folder, "mlm").config.pad_token_id
    # One separator between the texts of a pair, or two; and token types only where BERT has them.
    ids = tokenizer("a", "b")["input_ids"]
    assert len(ids) == (6 if family == "roberta" else 5)
    encoded = tasks.get("demo_inference").encode(
        [{"premise": "a", "hypothesis": "b", "label": 0}], tokenizer, 8
    )
    assert encoded.arrays["input_ids"][0, : len(ids)].tolist() == ids
    assert (encoded.arrays["input_ids"][0, len(ids) :] == tokenizer.pad_token_id).all()
    assert encoded.arrays["token_type_ids"].any() == (family == "distilbert")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["demo_inference", "demo_questions"])
def test_a_run_from_the_first_step_to_the_export(task, start, tmp_path, capsys):
    family, folder = start
    result = train(demo_config(folder, tmp_path / "run", task))
    run = tmp_path / "run"
    config = EvaluateConfig(str(run), cache="none", limit=4)
    assert evaluate(config)["score"] == result["score"]

    assert cli.main(["inspect", str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    tensors = load_file(run / "model" / "model.safetensors")
    matrices = [x for name, x in tensors.items() if ".layer." in name and x.ndim == 2]
    kept = [int(np.count_nonzero(x)) for x in matrices]
    assert kept == [int(0.3 * x.size) for x in matrices] and len(kept) == 6
    assert report["linear_density"] == result["linear_density"]
    assert report["kept_weights"] == sum(kept)
    others = sum(x.size for name, x in tensors.items() if ".layer." in name and x.ndim == 1)
    size = sum(x.size for x in matrices)
    assert report["encoder_remaining"] == (sum(kept) + others) / (size + others)
    assert result["encoder_remaining"] == report["encoder_remaining"]

    exported = export_model(run, tmp_path / "out")
    before = load_file(folder / "model.safetensors")
    same = {
        name for name, x in tensors.items() if name in before and np.array_equal(x, before[name])
    }
    frozen = {name for name in tensors if name.startswith(f"{family}.embeddings.")}
    assert frozen <= same and len(same) < len(tensors) / 2

    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    head = "qa" if task == "demo_questions" else "classification"
    chosen, tokenizer = tasks.get(task), models.load_tokenizer(exported)
    rows = chosen.read(None, "dev")[:4]
    texts = [("question", "context"), ("premise", "hypothesis")][head != "qa"]
    pairs = [[row[name] for row in rows] for name in texts]
    # From text to logits: only transformers on one side, only mpjax on the other.
    theirs = transformers.AutoTokenizer.from_pretrained(exported)(
        *pairs, padding=True, truncation="longest_first" if head != "qa" else "only_second",
        max_length=48,
    )  # fmt: skip
    expected = torch_logits(reference(exported, head), head, **theirs)
    encoded = chosen.encode(rows, tokenizer, 48)
    windows = np.arange(4)
    if head == "qa":  # the first window of each question
        windows = np.unique(encoded.extra["row"], return_index=True)[1]
    width = expected.shape[1] if head == "qa" else len(theirs["input_ids"][0])
    arrays = [encoded.arrays[name][windows, :width] for name in ("input_ids", "attention_mask")]
    np.testing.assert_array_equal(arrays[0], theirs["input_ids"])
    model = models.load_model(exported, head)
    ours = apply(model, *arrays, encoded.arrays["token_type_ids"][windows, :width])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-5)
