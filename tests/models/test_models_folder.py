"""Hugging Face folders: read in all spellings, written whole, refused with a reason."""

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from mpjax import models
from mpjax.errors import InputError

TINY = models.BertConfig(
    vocab_size=23,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=9,
    id2label=("no", "yes", "maybe"),
    extra={"model_note": {"kept": [1, 2]}},
)
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s"]


def numbered(config, head):
    """Params with all entries different, so that a swap or a transposition shows."""
    params = models.new_model(config, head).params
    flat = flatten_dict(params, sep="/")
    for i, (path, leaf) in enumerate(flat.items()):
        flat[path] = i + jnp.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape) / 1024
    return unflatten_dict(flat, sep="/")


def assert_same(a, b):
    a, b = flatten_dict(a, sep="/"), flatten_dict(b, sep="/")
    assert list(a) == list(b)
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


def rewrite(folder, change):
    """Rewrites the tensors of a folder with a function."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


def reconfigure(folder, **changes):
    path = folder / "config.json"
    data = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))


@pytest.fixture
def saved(tmp_path):
    """A folder with a classification model of known parameters, and those parameters."""
    params = numbered(TINY, "classification")
    return models.save_model(tmp_path / "m", TINY, params, "classification"), params


@pytest.fixture
def tokenizer(tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


# Names and round trips.


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
def test_writing_then_reading_gives_the_same_model(head, tmp_path):
    params = numbered(TINY, head)
    folder = models.save_model(tmp_path / "m", TINY, params, head)
    model = models.load_model(folder, head)
    assert_same(model.params, params)
    # Three labels are not a question answerer's, and transformers would stumble over them.
    expected = replace(TINY, id2label=None) if head == "qa" else TINY
    assert (model.config, model.fresh, model.unused) == (expected, (), ())
    assert model.folder == folder
    assert_same(
        models.from_torch_names(models.to_torch_names(params, TINY, head), TINY, head), params
    )


@pytest.mark.slow
def test_kernels_are_transposed_and_nothing_else_is():
    params = numbered(TINY, "qa")
    flat, theirs = flatten_dict(params, sep="/"), models.to_torch_names(params, TINY, "qa")
    names = models.torch_names(TINY, "qa")
    assert list(names) == list(flat) and sorted(names.values()) == sorted(theirs)
    kernel = "bert/encoder/layer_1/ffn/out/kernel"
    assert names[kernel] == "bert.encoder.layer.1.output.dense.weight"
    for path, name in names.items():
        expected = flat[path].T if path.endswith("kernel") else flat[path]
        np.testing.assert_array_equal(theirs[name], expected)


@pytest.mark.slow
def test_conversion_keeps_float64_and_refuses_it_without_x64(x64):
    import jax

    tensors = {
        k: v.astype(np.float64)
        for k, v in models.to_torch_names(numbered(TINY, "qa"), TINY, "qa").items()
    }
    assert models.from_torch_names(tensors, TINY, "qa")["qa"]["kernel"].dtype == np.float64
    with jax.enable_x64(False), pytest.raises(InputError, match="enable_x64"):
        models.from_torch_names(tensors, TINY, "qa")


def test_config_survives_and_keeps_unknown_keys():
    data = json.loads(json.dumps(TINY.to_dict()))
    assert models.BertConfig.from_dict(data) == TINY
    assert data["id2label"] == {"0": "no", "1": "yes", "2": "maybe"}
    assert data["model_note"] == {"kept": [1, 2]}
    hash(TINY)  # a module that holds it can be a static argument
    assert models.BertConfig.from_dict({"num_labels": 4}).num_labels == 4


@pytest.mark.slow
@pytest.mark.parametrize("head", models.HEADS)
def test_transformers_finds_no_key_missing_and_none_too_many(head, tmp_path, tokenizer):
    pytest.importorskip("torch")
    import transformers

    auto = {
        "classification": transformers.AutoModelForSequenceClassification,
        "tokens": transformers.AutoModelForTokenClassification,
        "qa": transformers.AutoModelForQuestionAnswering,
        "mlm": transformers.AutoModelForMaskedLM,
        "features": transformers.AutoModel,
    }[head]
    params = models.new_model(TINY, head).params
    folder = models.save_model(tmp_path / "m", TINY, params, head, tokenizer_from=tokenizer)
    reference, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert (
        type(reference).__name__
        == json.loads((folder / "config.json").read_text())["architectures"][0]
    )
    if head == "classification":
        assert reference.config.id2label == dict(enumerate(TINY.id2label or ()))
    # And back: what transformers writes, in its own spelling, is the same model.
    reference.save_pretrained(tmp_path / "theirs")
    model = models.load_model(tmp_path / "theirs", head)
    assert_same(model.params, params)
    assert model.fresh == model.unused == ()


# Spellings of the same weights.


def without_prefix(tensors):
    return {k.removeprefix("bert."): v for k, v in tensors.items()}


def old_spelling(tensors):
    swap = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, old in swap.items():
        tensors = {k.replace(new, old): v for k, v in tensors.items()}
    return tensors


def with_position_ids(tensors):
    return tensors | {"bert.embeddings.position_ids": np.arange(9)[None]}


@pytest.mark.parametrize("spelling", [without_prefix, old_spelling, with_position_ids])
def test_other_spellings_read_alike(spelling, saved):
    folder, params = saved
    rewrite(folder, spelling)
    model = models.load_model(folder, "classification")
    assert_same(model.params, params)
    assert model.fresh == model.unused == ()


def test_shards_read_alike(saved):
    folder, params = saved
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for i in range(3):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({n: tensors[n] for n in names[i::3]}, folder / file)
        weight_map |= dict.fromkeys(names[i::3], file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same(models.load_model(folder, "classification").params, params)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match=r"names the file model-00002-of-00003\.safetensors"):
        models.load_model(folder, "classification")
    save_file(tensors, folder.parent / "elsewhere.safetensors")  # there, but not ours to read
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "../elsewhere.safetensors")}))
    with pytest.raises(InputError, match="not in the folder"):
        models.load_model(folder, "classification")


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_weights_become_param_dtype(half, saved):
    folder, params = saved
    rewrite(folder, lambda tensors: {k: v.astype(half) for k, v in tensors.items()})
    model = models.load_model(folder, "classification")
    rounded = {k: v.astype(half).astype(jnp.float32) for k, v in flatten_dict(params).items()}
    got = flatten_dict(model.params)
    for path, leaf in rounded.items():
        assert got[path].dtype == jnp.float32
        np.testing.assert_array_equal(got[path], leaf)


def test_bfloat16_params_are_written_and_declared(tmp_path):
    params = models.new_model(TINY, "qa", param_dtype=jnp.bfloat16).params
    folder = models.save_model(tmp_path / "m", TINY, params, "qa")
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    assert_same(models.load_model(folder, "qa", param_dtype=jnp.bfloat16).params, params)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_pickle_is_read_through_the_weights_only_loader(kind, saved):
    torch = pytest.importorskip("torch")
    folder, params = saved
    dtype = getattr(torch, kind)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state = {k: torch.tensor(v).to(dtype) for k, v in tensors.items()}
    torch.save(state, folder / "pytorch_model.bin")
    got = flatten_dict(models.load_model(folder, "classification").params)
    for path, leaf in flatten_dict(params).items():
        np.testing.assert_array_equal(got[path], leaf.astype(kind).astype(jnp.float32))


class Bomb:
    def __reduce__(self):
        return (exit, ("a pickle was executed",))


def test_a_pickle_that_runs_code_is_refused(saved):
    torch = pytest.importorskip("torch")
    folder, _ = saved
    (folder / "model.safetensors").unlink()
    torch.save({"bert.embeddings.LayerNorm.weight": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin cannot be read"):
        models.load_model(folder, "classification")


def test_a_pickle_without_torch_names_the_extra(saved, monkeypatch):
    folder, _ = saved
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"install mpjax\[torch\], or convert"):
        models.load_model(folder, "classification")


# Heads: kept where they fit, new where they do not.


def fresh_parts(model):
    return {path.rsplit("/", 1)[0] for path in model.fresh}


def test_a_missing_head_is_drawn_from_the_seed(saved):
    folder, params = saved
    one = models.load_model(folder, "qa", seed=1)
    assert set(one.fresh) == {"qa/kernel", "qa/bias"}
    assert set(one.unused) == {
        "classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"
    }  # fmt: skip
    assert_same(one.params["bert"], {k: v for k, v in params["bert"].items() if k != "pooler"})
    assert not np.asarray(one.params["qa"]["bias"]).any()
    assert np.asarray(one.params["qa"]["kernel"]).std() == pytest.approx(0.02, rel=0.5)
    assert_same(models.load_model(folder, "qa", seed=1).params, one.params)
    two = models.load_model(folder, "qa", seed=2)
    assert not np.array_equal(one.params["qa"]["kernel"], two.params["qa"]["kernel"])


def test_new_parameters_differ_by_path_and_agree_across_heads():
    qa, mlm = (flatten_dict(models.new_model(TINY, head, seed=5).params) for head in ("qa", "mlm"))
    for path in qa.keys() & mlm.keys():
        np.testing.assert_array_equal(qa[path], mlm[path])
    drawn = [leaf for path, leaf in qa.items() if path[-1] in ("kernel", "embedding")]
    assert len({np.asarray(leaf).reshape(-1)[:4].tobytes() for leaf in drawn}) == len(drawn)
    for path, leaf in qa.items():
        if path[-1] in ("scale", "bias"):
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, path[-1] == "scale"))


def test_a_masked_lm_becomes_a_classifier_with_a_new_pooler(tmp_path):
    folder = models.save_model(tmp_path / "m", TINY, numbered(TINY, "mlm"), "mlm")
    model = models.load_model(folder, "classification", labels=["x", "y"])
    assert fresh_parts(model) == {"bert/pooler", "classifier"}
    assert model.config.id2label == ("x", "y")
    assert model.params["classifier"]["kernel"].shape == (12, 2)


@pytest.mark.parametrize(
    ("labels", "kept"),
    [(None, True), (["u", "v", "w"], True), (["no", "yes"], False), (list("abcd"), False)],
)
def test_the_classifier_is_kept_where_its_size_fits(labels, kept, saved):
    folder, params = saved
    model = models.load_model(folder, "classification", labels=labels)
    assert fresh_parts(model) == (set() if kept else {"classifier"})
    assert model.config.id2label == tuple(labels or ("no", "yes", "maybe"))
    assert model.params["classifier"]["kernel"].shape == (12, model.config.num_labels)
    if kept:
        assert_same(model.params, params)


def test_labels_in_another_order_take_their_rows_along(saved):
    folder, params = saved
    model = models.load_model(folder, "classification", labels=["Maybe", "no", "yes"])
    old, new = params["classifier"], model.params["classifier"]
    for now, before in enumerate([2, 0, 1]):
        np.testing.assert_array_equal(new["kernel"][:, now], old["kernel"][:, before])
        assert new["bias"][now] == old["bias"][before]


@pytest.mark.parametrize("name", ["BertForTokenClassification", "BertForMultipleChoice"])
def test_a_classifier_of_another_kind_is_not_reused(name, saved):
    folder, _ = saved
    reconfigure(folder, architectures=[name])
    model = models.load_model(folder, "classification")
    assert fresh_parts(model) == {"classifier"}
    assert set(model.unused) == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("name", ["MaskedBertForSequenceClassification", "BertModel", None, ...])
def test_a_classifier_of_the_same_kind_is_reused(name, saved):
    folder, params = saved
    reconfigure(folder, architectures=[name] if isinstance(name, str) else name)
    assert_same(models.load_model(folder, "classification").params, params)


def test_half_a_head_is_no_head(saved):
    folder, _ = saved
    rewrite(folder, lambda t: {k: v for k, v in t.items() if k != "classifier.bias"})
    assert set(models.load_model(folder, "classification").fresh) == {
        "classifier/kernel", "classifier/bias"
    }  # fmt: skip


@pytest.mark.slow
def test_a_qa_folder_from_a_three_way_classifier_loads_in_transformers(saved, tmp_path):
    """transformers sizes the QA head by the labels: three leftover labels would break it."""
    pytest.importorskip("torch")
    from transformers import AutoModelForQuestionAnswering

    model = models.load_model(saved[0], "qa")
    folder = models.save_model(tmp_path / "qa", model.config, model.params, "qa")
    reference = AutoModelForQuestionAnswering.from_pretrained(folder)
    assert reference.qa_outputs.weight.shape == (2, 12)


def test_tied_copies_are_accepted_and_untied_ones_refused(tmp_path):
    params = numbered(TINY, "mlm")
    folder = models.save_model(tmp_path / "m", TINY, params, "mlm")
    words = "bert.embeddings.word_embeddings.weight"
    rewrite(folder, lambda t: t | {"cls.predictions.decoder.weight": t[words].copy()})
    assert_same(models.load_model(folder, "mlm").params, params)
    # Only the decoder's copy of the bias: the same parameter under another name.
    bias, copy = "cls.predictions.bias", "cls.predictions.decoder.bias"
    rewrite(folder, lambda t: {copy if k == bias else k: v for k, v in t.items()})
    assert_same(models.load_model(folder, "mlm").params, params)
    rewrite(folder, lambda t: t | {"cls.predictions.decoder.weight": t[words] + 1})
    with pytest.raises(InputError, match=r"decoder\.weight differs from .*word_embeddings"):
        models.load_model(folder, "mlm")
    models.load_model(folder, "classification")  # which has no use for it


# Bad input.


def drop(name):
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def cut(name):
    return lambda tensors: tensors | {name: tensors[name][:-1].copy()}


def add(name):
    return lambda tensors: tensors | {name: np.zeros((12, 12), np.float32)}


QUERY = "bert.encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop(QUERY), f"has no tensor {QUERY}"),
        (drop("bert.embeddings.LayerNorm.bias"), "has no tensor bert.embeddings.LayerNorm.bias"),
        (cut(QUERY), rf"{QUERY} has shape \(11, 12\), config.json asks for \(12, 12\)"),
        (cut("bert.embeddings.word_embeddings.weight"), r"shape \(22, 12\).*asks for \(23, 12\)"),
        (cut("bert.pooler.dense.weight"), r"pooler.dense.weight has shape \(11, 12\)"),
        (cut("classifier.weight"), r"classifier.weight has shape \(2, 12\).*\(3, 12\)"),
        (add("bert.encoder.layer.2.output.dense.weight"), r"layer\.2\.output.*has no place"),
        (add("encoder.layer.0.crossattention.self.key.weight"), "crossattention.*has no place"),
        (add(QUERY.replace("weight", "mask_scores")), r"is a training checkpoint .*mpjax export"),
    ],
)
def test_wrong_weights_are_refused_by_name(change, message, saved):
    folder, _ = saved
    rewrite(folder, change)
    with pytest.raises(InputError, match=message) as caught:
        models.load_model(folder, "classification")
    assert str(folder / "model.safetensors") in str(caught.value)


def test_a_classifier_for_another_width_is_refused_even_with_new_labels(saved):
    folder, _ = saved
    rewrite(folder, lambda t: t | {"classifier.weight": np.zeros((3, 11), np.float32)})
    with pytest.raises(InputError, match=r"classifier.weight has shape \(3, 11\)"):
        models.load_model(folder, "classification", labels=["one", "two"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'.*supported: bert"),
        ({"model_type": ...}, "model_type is None"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"pruned_heads": {"0": [3]}}, r"pruned_heads removes \[3\] from layer '0'"),
        ({"pruned_heads": {"2": [0]}}, "pruned_heads removes .* from layer '2'; the model has 2"),
        ({"pruned_heads": [0]}, "pruned_heads must map layers to lists of heads"),
        ({"heads_per_layer": [3, 4]}, "heads_per_layer must list 2 whole numbers from 0 to 3"),
        ({"heads_per_layer": [3, 2], "pruned_heads": {"0": [1]}}, "heads_per_layer.*disagree"),
        ({"ffn_per_layer": [20]}, "ffn_per_layer must list 2 whole numbers from 0 to 20"),
        ({"layer_norm_type": "rms"}, "layer_norm_type 'rms' is not supported; known: layer_norm"),
        ({"quantization_config": {"bits": 8}}, "quantization_config"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported; known: gelu"),
        ({"num_attention_heads": 5}, "hidden_size 12 is not a multiple of num_attention_heads 5"),
        ({"hidden_size": "12"}, "hidden_size must be a positive whole number, found '12'"),
        ({"vocab_size": 0}, "vocab_size must be a positive whole number, found 0"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob must be a number from 0 to below 1"),
        ({"layer_norm_eps": None}, "layer_norm_eps must be a number, 0 or more, found None"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label must map 0, 1, 2"),
        ({"id2label": {}}, "id2label is empty"),
        ({"id2label": ["a"]}, "id2label must map"),
        ({"id2label": ..., "num_labels": 0}, "num_labels must be a positive whole number"),
    ],
)
def test_configs_that_are_not_a_plain_bert_are_refused_by_key(changes, message, saved):
    folder, _ = saved
    reconfigure(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        models.load_model(folder, "classification")
    assert str(folder / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"pruned_heads": {}}, {"position_embedding_type": "absolute"}, {"is_decoder": False}],
)
def test_plain_values_of_the_same_keys_are_fine(changes, saved):
    before = models.load_model(saved[0], "classification")
    reconfigure(saved[0], **changes)
    after = models.load_model(saved[0], "classification")
    jax.tree.map(np.testing.assert_array_equal, after.params, before.params)


def test_damaged_and_absent_files_are_named(saved):
    folder, _ = saved
    (folder / "model.safetensors").write_bytes(b"not what it says")
    with pytest.raises(InputError, match=r"model\.safetensors is not a readable safetensors"):
        models.load_model(folder, "classification")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no weights: expected model\.safetensors"):
        models.load_model(folder, "classification")
    (folder / "config.json").write_text("{nonsense")
    with pytest.raises(InputError, match=r"config\.json line 1: not JSON \(Expecting"):
        models.load_model(folder, "classification")
    (folder / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json must hold a JSON object, found list"):
        models.load_model(folder, "classification")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"has no config\.json"):
        models.load_model(folder, "classification")


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        ("regression", None, "head is 'regression'"),
        ("classification", "yes", "labels must be a list"),
        ("classification", ["a", "a"], "labels repeat a name"),
        ("classification", [], "id2label is empty"),
        ("qa", ["a"], "labels were given for the head 'qa'"),
    ],
)
def test_wrong_requests_are_refused(head, labels, message, saved):
    with pytest.raises(InputError, match=message):
        models.load_model(saved[0], head, labels=labels)


# Writing.


def listing(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_in_use_is_not_overwritten(saved):
    folder, params = saved
    before = listing(folder.parent)
    with pytest.raises(InputError, match=r"is not empty"):
        models.save_model(folder, TINY, params, "classification")
    assert listing(folder.parent) == before


def test_exist_ok_replaces_a_model_folder_and_nothing_else(saved, tmp_path):
    folder, _ = saved
    (folder / "pytorch_model.bin").write_bytes(b"stale")
    params = numbered(TINY, "qa")
    models.save_model(folder, TINY, params, "qa", exist_ok=True)
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    assert_same(models.load_model(folder, "qa").params, params)
    assert os.listdir(tmp_path) == ["m"]

    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="so it is not replaced"):
        models.save_model(tmp_path / "home", TINY, params, "qa", exist_ok=True)
    assert (tmp_path / "home" / "letters.txt").read_text() == "dear"


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path):
    params = numbered(TINY, "qa")
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "empty", tmp_path / "a" / "b"):
        models.save_model(target, TINY, params, "qa")
        assert sorted(os.listdir(target)) == ["config.json", "model.safetensors"]
        expected = stat.S_IMODE((tmp_path / "a").stat().st_mode) if target.name == "b" else None
        assert expected in (None, stat.S_IMODE(target.stat().st_mode))


@pytest.mark.parametrize("exist_ok", [False, True])
def test_a_failure_leaves_nothing_behind(exist_ok, saved, monkeypatch):
    folder, _ = saved
    target = folder if exist_ok else folder.parent / "new"
    before = listing(folder.parent)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mpjax.models.hf.saving.save_file", full)
    with pytest.raises(
        InputError, match=rf"{target} cannot be written: the disk is full \([\d,]+ b"
    ):
        models.save_model(target, TINY, numbered(TINY, "qa"), "qa", exist_ok=exist_ok)
    monkeypatch.undo()
    move, refused = os.replace, []

    def refuse_once(source, destination):
        if destination == target and not refused:
            refused.append(source)
            raise OSError(5, "Input/output error")
        move(source, destination)

    monkeypatch.setattr("mpjax.temporary.exchange", lambda one, other: False)
    monkeypatch.setattr("os.replace", refuse_once)
    with pytest.raises(InputError, match="the disk reports an error"):
        models.save_model(target, TINY, numbered(TINY, "qa"), "qa", exist_ok=exist_ok)
    monkeypatch.undo()
    assert refused
    assert listing(folder.parent) == before
    assert os.listdir(folder.parent) == ["m"]


def test_params_that_do_not_fit_are_refused_before_writing(tmp_path):
    params = numbered(TINY, "qa")
    with pytest.raises(InputError, match="params have no bert/pooler/"):
        models.save_model(tmp_path / "m", TINY, params, "classification")
    with pytest.raises(InputError, match=r"word/embedding has shape \(23, 12\).*\(24, 12\)"):
        models.save_model(tmp_path / "m", replace(TINY, vocab_size=24), params, "qa")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file is a file"):
        models.save_model(tmp_path / "file", TINY, params, "qa")
    with pytest.raises(InputError, match="file is a file, not a folder"):
        models.save_model(tmp_path / "file" / "m", TINY, params, "qa")
    assert os.listdir(tmp_path) == ["file"]


# Tokenizers.


def test_the_tokenizer_travels_with_the_model(tokenizer, tmp_path):
    first = models.save_model(
        tmp_path / "m", TINY, numbered(TINY, "qa"), "qa", tokenizer_from=tokenizer
    )
    again = models.save_model(
        tmp_path / "n", TINY, numbered(TINY, "qa"), "qa", tokenizer_from=first
    )
    loaded = models.load_tokenizer(again)
    assert loaded.is_fast
    encoded = loaded("The cats sat", "the zebra")
    assert encoded["input_ids"] == [2, 5, 6, 8, 7, 3, 5, 1, 3]
    assert encoded["token_type_ids"] == [0] * 6 + [1] * 3


def test_a_folder_without_tokenizer_is_refused(saved, tokenizer, tmp_path):
    with pytest.raises(InputError, match="has no tokenizer"):
        models.load_tokenizer(saved[0])
    with pytest.raises(InputError, match="has no tokenizer"):
        models.save_model(tmp_path / "x", TINY, numbered(TINY, "qa"), "qa", tokenizer_from=saved[0])
    with pytest.raises(InputError, match="does not exist"):
        models.load_tokenizer(tmp_path / "nowhere")
    (tokenizer / "tokenizer.json").write_text("{broken")
    with pytest.raises(InputError, match=r"tokenizer of .* cannot be read"):
        models.load_tokenizer(tokenizer)
    assert not (tmp_path / "x").exists()


def test_weights_are_read_without_importing_transformers(saved):
    """transformers takes seconds to import, and only tokenizers need it."""
    code = (
        "import sys; from mpjax import models; "
        f"models.load_model({str(saved[0])!r}, 'qa'); "
        "sys.exit('transformers' in sys.modules or 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(models.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0
