"""Weights as people have them: prefixed names, Flax files, shards, sub-folders, full-size heads."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file, save_file
from test_models_folder import assert_same, numbered, reconfigure

from mpjax import models
from mpjax.errors import InputError
from mpjax.export import export_model
from mpjax.export.inspect import inspect_model
from mpjax.models.hf.forms.safetensors_file import read_safetensors, safetensors_shapes
from mpjax.models.hf.tensors import read_tensors

SIZES = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 6,
    "max_position_embeddings": 9,
    "id2label": ("no", "yes"),
}
CONFIGS = {
    "bert": models.BertConfig(**SIZES),
    "roberta": models.RobertaConfig(**SIZES),
    "distilbert": models.DistilBertConfig(**SIZES),
}
WEIGHTS = "model.safetensors"


def made(root: Path, family: str = "bert", head: str = "classification"):
    """A folder, its parameters and its tensors."""
    config = CONFIGS[family]
    params = numbered(config, head)
    folder = models.save_model(root / "m", config, params, head)
    return folder, params, load_file(folder / WEIGHTS)


def respell(folder: Path, tensors, spell) -> None:
    save_file({spell(name): tensor for name, tensor in tensors.items()}, folder / WEIGHTS)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "_orig_mod.module.", "module.model.", "net.encoder."],
)
def test_a_prefix_of_all_names_is_stripped_and_said(prefix, family, tmp_path, caplog):
    folder, params, tensors = made(tmp_path, family)
    respell(folder, tensors, lambda name: prefix + name)
    with caplog.at_level(logging.WARNING, "mpjax"):
        model = models.load_model(folder, "classification")
    assert_same(model.params, params)
    assert model.fresh == model.unused == ()
    assert "stripped from the tensor names" in caplog.text
    assert all(part in caplog.text for part in prefix.split(".") if part)


def test_the_prefix_of_the_body_twice_and_wrappers_within(tmp_path):
    folder, params, tensors = made(tmp_path)
    respell(folder, tensors, lambda name: name.replace("bert.", "bert.bert.", 1))
    assert_same(models.load_model(folder, "classification").params, params)
    respell(folder, tensors, lambda name: "bert." + name)
    assert_same(models.load_model(folder, "classification").params, params)
    respell(folder, tensors, lambda name: name.replace("layer.1.", "layer.1._orig_mod.module."))
    assert_same(models.load_model(folder, "classification").params, params)


def test_a_body_in_a_module_beside_its_head(tmp_path):
    folder, params, tensors = made(tmp_path)
    respell(folder, tensors, lambda name: name.replace("bert.", "model.", 1))
    model = models.load_model(folder, "classification")
    assert_same(model.params, params)


def test_a_plain_folder_says_nothing(tmp_path, caplog):
    folder, *_ = made(tmp_path)
    with caplog.at_level(logging.INFO, "mpjax"):
        models.load_model(folder, "classification")
    assert caplog.text == ""


def test_the_name_of_another_family_is_no_prefix_to_strip(tmp_path):
    folder, _, tensors = made(tmp_path)
    respell(folder, tensors, lambda name: name.replace("bert.", "roberta.", 1))
    with pytest.raises(InputError, match=r"has no tensor bert\.embeddings"):
        models.load_model(folder, "classification")


def test_only_tensors_of_the_model_are_counted(tmp_path):
    folder, _, tensors = made(tmp_path)
    before = inspect_model(folder)
    more = {"crf.layer.0.dense.weight": np.ones((2, 2), np.float32)}
    save_file(tensors | more, folder / WEIGHTS)
    assert inspect_model(folder) == before


def test_two_models_in_one_file_are_refused(tmp_path):
    folder, _, tensors = made(tmp_path)
    both = {f"{who}.{n}": t for who in ("student", "teacher") for n, t in tensors.items()}
    save_file(both, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"holds 2 models, student\.bert\., teacher\.bert\.; wr"):
        models.load_model(folder, "classification")
    save_file(tensors | {f"teacher.{n}": t for n, t in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"holds 2 models, bert\., teacher\.bert\.; wr"):
        inspect_model(folder)
    save_file(tensors | {f"module.{n}": t for n, t in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"holds both bert\.\S+ and module\.bert\.\S+, one"):
        models.load_model(folder, "classification")


def test_an_export_of_a_prefixed_folder_is_plain(tmp_path):
    folder, params, tensors = made(tmp_path)
    respell(folder, tensors, lambda name: "module." + name)
    plain = export_model(folder, tmp_path / "plain")
    assert set(load_file(plain / WEIGHTS)) == set(tensors)
    assert_same(models.load_model(plain, "classification").params, params)


# Flax files, written here as the Flax classes of transformers write them.


def to_flax(folder: Path, tensors, dtype=np.float32, shards: int = 0, wrap=lambda tree: tree):
    """Replaces the weights of a folder by ``flax_model.msgpack``, or by shards of it."""
    flat = {}
    for name, tensor in tensors.items():
        module, leaf = name.rsplit(".", 1)
        norm = "norm" in module.lower().rsplit(".", 1)[-1]
        table = module.endswith("embeddings") and not norm
        leaf = leaf if leaf == "bias" else "scale" if norm else "embedding" if table else "kernel"
        tensor = np.ascontiguousarray(tensor.T) if leaf == "kernel" else tensor
        flat[f"{module}.{leaf}".replace(".", "/")] = tensor.astype(dtype)
    (folder / WEIGHTS).unlink()
    names = sorted(flat)
    parts = [names[i :: shards or 1] for i in range(shards or 1)]
    files = [f"flax_model-{i + 1:05}-of-{shards:05}.msgpack" for i in range(shards)]
    for file, part in zip(files or ["flax_model.msgpack"], parts, strict=True):
        tree = wrap(unflatten_dict({name: flat[name] for name in part}, sep="/"))
        (folder / file).write_bytes(msgpack_serialize(tree))
    if shards:
        where = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        index = {"metadata": {}, "weight_map": where}
        (folder / "flax_model.msgpack.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("head", ["classification", "qa", "mlm", "features"])
def test_flax_weights_are_read(family, head, tmp_path):
    folder, params, tensors = made(tmp_path, family, head)
    to_flax(folder, tensors)
    model = models.load_model(folder, head)
    assert_same(model.params, params)
    assert model.fresh == model.unused == ()


def test_flax_weights_in_shards_in_half_precision_and_in_a_training_state(tmp_path):
    folder, params, tensors = made(tmp_path)
    to_flax(folder, tensors, shards=3)
    assert_same(models.load_model(folder, "classification").params, params)
    folder, _, tensors = made(tmp_path / "half")
    to_flax(folder, tensors, ml_dtypes.bfloat16, wrap=lambda t: {"params": t, "step": 3})
    found = read_tensors(folder)[1]
    assert {name: t.dtype for name, t in found.items()} == dict.fromkeys(
        tensors, np.dtype(ml_dtypes.bfloat16)
    )
    plain = export_model(folder, tmp_path / "plain")
    assert (plain / WEIGHTS).is_file() and not (plain / "flax_model.msgpack").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x81", "is not a readable Flax file"),
        (b"", "is not a readable Flax file"),
        (msgpack_serialize({"a": {"b": "text"}}), "a.b must be a tensor, found str"),
        (msgpack_serialize([1]), "must hold a tree of tensors, found list"),
        (b"\x81\xa1a" * 5000 + b"\x01", "is not a readable Flax file"),
    ],
)
def test_a_damaged_flax_file_is_named(content, message, tmp_path):
    folder, *_ = made(tmp_path)
    (folder / WEIGHTS).unlink()
    (folder / "flax_model.msgpack").write_bytes(content)
    with pytest.raises(InputError, match=rf"flax_model\.msgpack.*{message}"):
        models.load_model(folder, "classification")


# Places and names of weight files.


def shard(folder: Path, tensors, name: str, count: int = 2) -> list[str]:
    (folder / WEIGHTS).unlink()
    names = [name.format(f"{i + 1:05}-of-{count:05}") for i in range(count)]
    for i, file in enumerate(names):
        save_file({n: tensors[n] for n in sorted(tensors)[i::count]}, folder / file)
    return names


@pytest.mark.parametrize("name", ["model-{}.safetensors", "model.safetensors-{}"])
def test_shards_without_an_index_are_read_if_all_are_there(name, tmp_path):
    folder, params, tensors = made(tmp_path)
    files = shard(folder, tensors, name)
    assert_same(models.load_model(folder, "classification").params, params)
    (folder / files[0]).unlink()
    with pytest.raises(InputError, match=r"has 1 shards of model\.safetensors in 00002 .*lacks 1;"):
        models.load_model(folder, "classification")


def test_weights_of_the_only_sub_folder_or_under_another_name(tmp_path, caplog):
    folder, params, _ = made(tmp_path)
    (folder / "checkpoint").mkdir()
    (folder / WEIGHTS).rename(folder / "checkpoint" / WEIGHTS)
    with caplog.at_level(logging.WARNING, "mpjax"):
        assert_same(models.load_model(folder, "classification").params, params)
    assert "the weights are read from checkpoint/model.safetensors" in caplog.text
    (folder / "checkpoint" / WEIGHTS).rename(folder / "model.fp16.safetensors")
    assert_same(models.load_model(folder, "classification").params, params)


def test_a_folder_around_one_model_stands_for_it(tmp_path, caplog):
    folder, params, _ = made(tmp_path / "around")
    with caplog.at_level(logging.WARNING, "mpjax"):
        model = models.load_model(tmp_path / "around", "classification")
    assert_same(model.params, params)
    assert model.folder == folder
    assert "the model is read from m in it" in caplog.text
    made(tmp_path / "around" / "second")
    (tmp_path / "around" / "second" / "m").rename(tmp_path / "around" / "n")
    with pytest.raises(InputError, match=r"has no config\.json; give one of .* in it: m, n"):
        models.load_model(tmp_path / "around", "classification")


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("tf_model.h5", "tf_model.h5 is of TensorFlow: convert it by from_pretrained"),
        ("bert_model.ckpt.index", "TensorFlow 1 checkpoint: convert it by transformers-cli"),
        ("adapter_model.safetensors", "adapter without its model: merge"),
        ("model.onnx", "made for another program"),
        ("best.pt", "save its state dict as pytorch_model.bin"),
    ],
)
def test_weights_of_other_programs_are_named_with_the_way_to_convert_them(file, advice, tmp_path):
    folder, *_ = made(tmp_path)
    (folder / WEIGHTS).rename(folder / file)
    with pytest.raises(InputError, match=f"has no weights: expected .*{advice}"):
        models.load_model(folder, "classification")


def test_a_pickle_that_keeps_the_weights_beside_its_own_state(tmp_path):
    torch = pytest.importorskip("torch")
    folder, params, tensors = made(tmp_path)
    (folder / WEIGHTS).unlink()
    state = {f"module.{n}": torch.tensor(t) for n, t in tensors.items()}
    torch.save({"epoch": 3, "model_state_dict": state}, folder / "pytorch_model.bin")
    assert_same(models.load_model(folder, "classification").params, params)


def test_old_names_of_layer_norms_and_no_metadata(tmp_path):
    folder, params, tensors = made(tmp_path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def spell(name):
        for new, before in old.items():
            name = name.replace(new, before)
        return "module." + name

    respell(folder, tensors, spell)
    assert_same(models.load_model(folder, "classification").params, params)


# Removed heads.


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_removed_heads_are_left_out_of_weights_of_full_size(prefix, family, tmp_path, caplog):
    folder, _, tensors = made(tmp_path, family)
    reconfigure(folder, pruned_heads={"1": [2, 0]})
    respell(folder, tensors, lambda name: prefix + name)
    with caplog.at_level(logging.WARNING, "mpjax"):
        model = models.load_model(folder, "classification")
    assert "pruned_heads in config.json removes from layer 1; they are left out" in caplog.text
    config = replace(CONFIGS[family], pruned_heads=((), (0, 2)))
    assert model.config.pruned_heads == config.pruned_heads
    kept = [2, 3, 6, 7]  # features of heads 1 and 3, two a head
    mine = models.to_torch_names(model.params, config, "classification")
    for name, tensor in tensors.items():
        layer = ".layer.1.attention" in name and "norm" not in name.lower()
        rows = layer and any(part in name for part in ("query", "key", "value", "q_lin", "k_lin"))
        rows |= layer and "v_lin" in name
        columns = layer and not rows and name.endswith("weight")
        wanted = tensor[kept] if rows else tensor[:, kept] if columns else tensor
        np.testing.assert_array_equal(mine[name], wanted, err_msg=name)
    again = models.save_model(tmp_path / "pruned", config, model.params, "classification")
    assert_same(models.load_model(again, "classification").params, model.params)


# ------------------------------------------------------------------------------------ memory


def test_tensors_of_every_type_are_read_as_the_library_reads_them(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / WEIGHTS
    kinds = ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int32", "int8", "uint8",
             "bool"]  # fmt: skip
    tensors = {str(np.dtype(kind)): (9 * rng.random((3, 5))).astype(kind) for kind in kinds}
    tensors |= {"scalar": np.array(2, np.float32), "empty": np.zeros((0, 4), np.float32)}
    save_file(tensors, path)
    found = read_safetensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].tobytes() == tensor.tobytes()
    assert safetensors_shapes(path) == {name: tensor.shape for name, tensor in tensors.items()}
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"U32"', 1))
    assert {t.dtype.name for t in read_safetensors(path).values()} >= {"uint32"}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_safetensors(path)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux")
def test_reading_holds_the_weights_once(tmp_path):
    def held(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

    path, size = tmp_path / WEIGHTS, 8 * 2**20
    save_file({str(i): np.ones(size // 4, np.float32) for i in range(8)}, path)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is held now
    except OSError:
        pytest.skip("the peak cannot be reset here")
    before = held("VmRSS")
    tensors = read_safetensors(path)
    assert len(tensors) == 8 and held("VmHWM") - before < 1.5 * 8 * size
