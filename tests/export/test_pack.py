"""Packed models: lossless or within half a step, near the entropy bound, damage detected."""

import json
import math
import os
import shutil
import tracemalloc
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

from mpjax import cli, models
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.resolve import resolve
from mpjax.errors import InputError
from mpjax.export import measure_packed, pack_model, unpack_model
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.packed.coding import compress, decode_array, encode_array
from mpjax.models.packed.file import PackedModel, PackedTensor, read_packed, write_packed
from mpjax.optim import OptimizerConfig, make_optimizer
from mpjax.pruning import Pruning, make_rule
from mpjax.training.evaluate import evaluate
from mpjax.training.prepare import prepare
from mpjax.training.state import create_state
from mpjax.training.step import finalize

DTYPES = ("float32", "float64", "float16", "bfloat16", "int8", "uint8", "int64", "bool")
QUERY = "bert.encoder.layer.0.attention.self.query.weight"
WORDS = "bert.embeddings.word_embeddings.weight"


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def information(mask: np.ndarray) -> float:
    """Bytes of a random mask of this density: log₂ of the number of such masks."""
    n, k = mask.size, int(mask.sum())
    nats = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return nats / math.log(2) / 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Data, and a classifier of random weights in which most of every matrix is zero."""
    root = tmp_path_factory.mktemp("pack")
    tiny.options(root)
    config = models.BertConfig(
        vocab_size=len(tiny.demo.tokenizer()), hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=24, max_position_embeddings=32,
        id2label=("negative", "positive"),
    )  # fmt: skip
    params = models.new_model(config, "classification").params
    models.save_model(root / "classifier", config, params, "classification", root / "model")
    path = root / "classifier" / "model.safetensors"
    tensors, rng = load_file(path), np.random.default_rng(0)
    for name, tensor in tensors.items():
        if ".layer." in name and tensor.ndim == 2:
            tensor *= rng.random(tensor.shape) < 0.2  # leaves zeros of both signs
        if name.endswith("bias"):
            tensor[:] = rng.normal(size=tensor.shape)
    tensors["bert.encoder.layer.0.output.dense.bias"][:2] = [-0.0, 1e-45]
    save_file(tensors, path, metadata={"format": "pt"})
    return root


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_comes_back_bit_for_bit(dtype):
    rng, forms = np.random.default_rng(1), set()
    for shape in [(), (0,), (1,), (0, 3), (700,), (13, 257), (3, 4, 5)]:
        for density in (0.0, 0.001, 0.06, 0.5, 0.97, 1.0):
            raw = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8)
            raw = raw & 1 if dtype == "bool" else raw
            raw *= rng.random((*shape, 1)) < density
            array = raw.reshape(-1).view(dtype).reshape(shape)
            coded = encode_array(array)
            again = decode_array(coded)
            assert again.dtype == array.dtype and again.shape == shape
            np.testing.assert_array_equal(bits(again), bits(array))
            forms.add(coded.mask.form)
    assert forms == {"none", "all", "bitmap", "gaps"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_strange_floats_come_back_and_zeros_of_either_sign_are_dropped(dtype):
    info = ml_dtypes.finfo(dtype)
    array = np.array(
        [0, -0.0, np.nan, -np.nan, np.inf, -np.inf, info.smallest_subnormal, -info.max], dtype
    )
    payload = array[2:3].copy()
    payload.view(np.uint8)[0] ^= 1  # another NaN
    array = np.concatenate([array, payload, np.zeros(600, dtype), -np.zeros(600, dtype)])
    coded = encode_array(array)
    assert coded.kept == 7
    np.testing.assert_array_equal(bits(decode_array(coded)), bits(array))


@pytest.mark.parametrize("density", [0.01, 0.03, 0.06, 0.15, 0.3, 0.5, 0.9])
def test_a_random_mask_takes_what_its_density_says(density):
    mask = np.random.default_rng(2).random((400, 500)) < density
    coded = encode_array(mask)
    size = len(coded.mask.stream.data) + len(coded.values.data)
    # Huffman's whole bits, and the one value that all kept entries have, at its least: one bit.
    assert size <= 1.05 * information(mask) + mask.sum() / 8 + 100
    assert len(coded.mask.stream.data) <= 1.05 * information(mask) + 100


def test_blocks_take_much_less():
    blocks = np.random.default_rng(3).random((12, 12)) < 0.25
    mask = np.kron(blocks, np.ones((32, 32), bool))
    assert len(encode_array(mask).mask.stream.data) < 0.1 * information(mask)


@pytest.mark.parametrize("embeddings", ["float16", "int8"])
def test_quantised_tensors_are_near_and_all_others_equal(embeddings, root, tmp_path):
    source = load_file(root / "classifier" / "model.safetensors")
    pack_model(root / "classifier", tmp_path / "m.mpz", int8=True, embeddings=embeddings)
    path, tensors = read_tensors(tmp_path / "m.mpz")
    assert path == tmp_path / "m.mpz" and list(tensors) == list(source)
    for name, tensor in source.items():
        found = tensors[name]
        assert found.dtype == tensor.dtype and found.shape == tensor.shape
        if tensor.ndim != 2:
            np.testing.assert_array_equal(bits(found), bits(tensor))
        elif "embeddings" in name and embeddings == "float16":
            np.testing.assert_array_equal(found, tensor.astype(np.float16).astype(np.float32))
        else:
            largest = np.abs(tensor).max(axis=1, keepdims=True)
            assert (np.abs(found - tensor) <= largest / 254 * (1 + 1e-6)).all()
            for row, old in zip(found, tensor, strict=True):  # at most 127 steps on either side
                steps = np.abs(row / (np.abs(old).max() / 127 or 1))
                np.testing.assert_allclose(steps, steps.round(), atol=1e-4)
        assert (found[tensor == 0] == 0).all()


def test_a_folder_comes_back_byte_for_byte_and_again_from_itself(root, tmp_path, capsys):
    source = root / "classifier"
    assert cli.main(["pack", str(source), "--output", str(tmp_path / "m.mpz")]) == 0
    assert "encoder mask" in capsys.readouterr().out
    assert cli.main(["unpack", str(tmp_path / "m.mpz"), "--output", str(tmp_path / "back")]) == 0
    assert files(tmp_path / "back") == files(source)
    pack_model(tmp_path / "m.mpz", tmp_path / "deep" / "again.mpz")
    assert (tmp_path / "deep" / "again.mpz").read_bytes() == (tmp_path / "m.mpz").read_bytes()


def test_a_packed_model_serves_wherever_a_folder_does(root, tmp_path, capsys):
    target = tmp_path / "m.mpz"
    pack_model(root / "classifier", target)
    data = {"task": "sst2", "data": str(root / "data"), "max_length": 16, "cache": "none"}
    one, other = (evaluate(EvaluateConfig(str(m), **data)) for m in (root / "classifier", target))
    assert one.pop("model") != other.pop("model") and one == other
    capsys.readouterr()
    printed = []
    for model in (root / "classifier", target):
        assert cli.main(["inspect", str(model), "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""
    plain = prepare(resolve(tiny.config(root, model=str(root / "classifier"))))
    packed = prepare(resolve(tiny.config(root, model=str(target), teacher=str(target))))
    both = (jax.tree.leaves(job.inputs.model.params) for job in (plain, packed))
    for a, b in zip(*both, strict=True):
        np.testing.assert_array_equal(bits(np.asarray(a)), bits(np.asarray(b)))
    assert plain.inputs.batches.encoded.arrays["input_ids"].tolist() == (
        packed.inputs.batches.encoded.arrays["input_ids"].tolist()
    )
    config, params = packed.inputs.model.config, packed.inputs.model.params
    saved = models.save_model(tmp_path / "saved", config, params, "classification", target)
    assert files(saved).keys() == files(root / "classifier").keys()


def test_a_tokenizer_that_hangs_on_the_config_is_found(root, tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (folder / name).write_bytes((root / "classifier" / name).read_bytes())
    pack_model(folder, tmp_path / "m.mpz")
    plain, packed = (models.load_tokenizer(path) for path in (folder, tmp_path / "m.mpz"))
    assert type(plain) is type(packed) and plain("the soup") == packed("the soup")


def test_the_sizes_add_up_and_stand_beside_the_bound(root, tmp_path, capsys):
    words = ["pack", str(root / "classifier"), "--json"]
    assert cli.main([*words, "--output", str(tmp_path / "exact.mpz")]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    header = int.from_bytes((tmp_path / "exact.mpz").read_bytes()[8:16], "little")
    assert parts["header and checksum"]["bytes"] == 8 + 8 + header + 32
    assert parts["signs of zeros"]["bytes"] > 0
    words += ["--int8", "--embeddings", "int8"]
    assert cli.main([*words, "--output", str(tmp_path / "m.mpz")]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert sizes["bytes"] == (tmp_path / "m.mpz").stat().st_size
    assert sizes["bytes"] == sum(part["bytes"] for part in sizes["parts"].values())
    tensors = read_tensors(tmp_path / "m.mpz")[1]
    assert sizes["dense_bytes"] == sum(tensor.nbytes for tensor in tensors.values())
    matrices = [t for name, t in tensors.items() if ".layer." in name and t.ndim == 2]
    kept = sum(np.count_nonzero(t) for t in matrices)
    bound = kept
    for t in matrices:
        p = np.count_nonzero(t) / t.size
        bound -= t.size * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8
    encoder = sizes["encoder"]
    assert (encoder["kept"], encoder["weights"]) == (kept, sum(t.size for t in matrices))
    assert encoder["bound_bytes"] == pytest.approx(bound)
    assert encoder["bytes"] == sum(
        sizes["parts"][part]["bytes"] for part in ("encoder mask", "encoder values")
    )
    assert encoder["ratio"] == pytest.approx(encoder["bytes"] / bound)


def test_an_encoder_of_six_per_cent_is_within_the_target(tmp_path):
    rng = np.random.default_rng(4)
    weight = rng.normal(size=(768, 768)).astype(np.float32) * (rng.random((768, 768)) < 0.06)
    (tmp_path / "config.json").write_text("{}")
    save_file({QUERY: weight}, tmp_path / "model.safetensors")
    packed = pack_model(tmp_path, tmp_path / "m.mpz", int8=True)
    encoder = measure_packed(packed, os.path.getsize(tmp_path / "m.mpz")).encoder
    kept = np.count_nonzero(packed.restore()[QUERY])
    assert encoder.size <= 1.15 * (information(weight != 0) + kept)
    assert encoder.size < 0.06 * weight.size * 4 / 2  # half of the kept floats alone


def test_mask_scores_are_not_rounded(tmp_path):
    values = np.random.default_rng(5).normal(size=(2, 64, 48)).astype(np.float32)
    scores = QUERY.replace("weight", "mask_scores")
    (tmp_path / "config.json").write_text("{}")
    save_file({QUERY: values[0], scores: values[1]}, tmp_path / "model.safetensors")
    found = pack_model(tmp_path, tmp_path / "m.mpz", int8=True).restore()
    np.testing.assert_array_equal(found[scores], values[1])
    assert not np.array_equal(found[QUERY], values[0])


def test_a_path_from_home_is_understood(tmp_path, monkeypatch, capsys, root):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.main(["pack", str(root / "classifier"), "--output=~/m.mpz"]) == 0
    assert (tmp_path / "m.mpz").is_file()
    assert cli.main(["export", str(tmp_path / "m.mpz"), "--output", str(tmp_path / "d")]) == 2
    assert "is a packed model; make a folder of it with: mpjax unpack" in capsys.readouterr().err


def test_what_training_drops_has_no_sign():
    """Half of a mask's zeros would be −0.0: a bit each, more than the mask itself."""
    kernel, scores = jax.random.normal(jax.random.key(0), (2, 40, 30))
    pruning = Pruning(make_rule("l0"), ".*")
    tx = make_optimizer(OptimizerConfig(warmup_steps=1), pruning, 10)
    state = create_state({"dense": {"kernel": kernel}}, pruning, tx)
    state = state.replace(scores={"dense": {"kernel": 5 * scores}})  # closed gates, half of them
    final = jax.jit(lambda state: finalize(state, pruning))(state)["dense"]["kernel"]
    assert 0 < np.count_nonzero(final) < 1200
    assert encode_array(np.asarray(final)).signs.form == "none"


@pytest.mark.parametrize("embeddings", ["float32", "float16", "int8"])
def test_positions_of_old_checkpoints_stay_whole_numbers(embeddings, root, tmp_path):
    shutil.copytree(root / "classifier", tmp_path / "old")
    file, name = tmp_path / "old" / "model.safetensors", "bert.embeddings.position_ids"
    positions = np.arange(16, dtype=np.int64)[None]
    save_file({**load_file(file), name: positions}, file)
    pack_model(tmp_path / "old", tmp_path / "m.mpz", int8=True, embeddings=embeddings)
    np.testing.assert_array_equal(read_tensors(tmp_path / "m.mpz")[1][name], positions)


def test_equal_tensors_are_stored_once_and_stay_equal(root, tmp_path):
    tensors = load_file(root / "model" / "model.safetensors")
    copy = "cls.predictions.decoder.weight"
    (tmp_path / "m").mkdir()
    for name, content in files(root / "model").items():
        (tmp_path / "m" / name).write_bytes(content)
    pack_model(tmp_path / "m", tmp_path / "one.mpz", embeddings="float16")
    save_file({copy: tensors[WORDS], **tensors}, tmp_path / "m" / "model.safetensors")
    pack_model(tmp_path / "m", tmp_path / "two.mpz", int8=True, embeddings="float16")
    model = models.load_model(tmp_path / "two.mpz", "mlm")  # refuses a copy that differs
    assert model.fresh == ()
    one, two = (os.path.getsize(tmp_path / name) for name in ("one.mpz", "two.mpz"))
    assert two < one + 100


def small(path: Path) -> PackedModel:
    array = encode_array(np.array([0, 1.5, -0.0, 0], np.float32))
    packed = PackedModel({"config.json": compress(b"{}")}, {"w": PackedTensor("float32", array)})
    assert write_packed(path, packed) == path.stat().st_size
    return packed


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    path = tmp_path / "m.mpz"
    assert small(path) == read_packed(path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"\0"]
    for place in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"m\.mpz is damaged.*checksum"):
            read_packed(path)


def test_a_later_format_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("mpjax.models.packed.file.FILE_FORMAT", 7)
    small(tmp_path / "m.mpz")
    monkeypatch.undo()
    with pytest.raises(InputError, match="format 7"):
        read_packed(tmp_path / "m.mpz")


def test_a_file_of_another_name_does_not_leave_the_folder(tmp_path):
    packed = small(tmp_path / "m.mpz")
    evil = PackedModel({"../config.json": compress(b"{}")}, packed.tensors)
    write_packed(tmp_path / "evil.mpz", evil)
    with pytest.raises(InputError, match=r"\.\./config\.json"):
        unpack_model(tmp_path / "evil.mpz", tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"m.mpz", "evil.mpz"}


def test_what_cannot_be_packed_is_refused_and_leaves_nothing(root, tmp_path):
    source, target = root / "classifier", tmp_path / "m.mpz"
    (tmp_path / "m").mkdir()
    for name, content in files(source).items():
        (tmp_path / "m" / name).write_bytes(content)
    path = tmp_path / "m" / "model.safetensors"
    for name, value, options in [
        (QUERY, np.nan, {"int8": True}),
        (WORDS, np.inf, {"embeddings": "int8"}),
        (WORDS, 7e4, {"embeddings": "float16"}),
    ]:
        tensors = load_file(source / "model.safetensors")
        tensors[name][1, 1] = value
        save_file(tensors, path)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            pack_model(tmp_path / "m", target, **options)
    with pytest.raises(InputError, match=r"--output .* must end in \.mpz"):
        pack_model(source, tmp_path / "m.zip")
    with pytest.raises(InputError, match="--embeddings is 'int4'"):
        pack_model(source, target, embeddings="int4")
    assert {path.name for path in tmp_path.iterdir()} == {"m"}
    target.write_bytes(b"mine")
    with pytest.raises(InputError, match="exists"):
        pack_model(source, target)
    with pytest.raises(InputError, match="checksum"):
        unpack_model(target, tmp_path / "out")
    with pytest.raises(InputError, match="not a packed model"):
        unpack_model(tmp_path / "m", tmp_path / "out")
    assert target.read_bytes() == b"mine" and not (tmp_path / "out").exists()


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        small(tmp_path / "m.mpz")
    assert list(tmp_path.iterdir()) == []


def test_values_are_coded_a_plane_at_a_time():
    rng = np.random.default_rng(0)
    for density in (0.1, 1.0):
        array = rng.standard_normal((1000, 1000), np.float32)
        array *= rng.random(array.shape) < density
        planes = array[array != 0].view(np.uint8).reshape(-1, 4).T
        assert encode_array(array).values == compress(planes.tobytes(), "huffman")
    tracemalloc.start()
    encode_array(array)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 2.5 * array.nbytes, "the marks, what is kept and its code, no copy beside"
