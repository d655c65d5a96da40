"""Model folders and packed files of strangers: read, or refused before anything grows."""

import hashlib
import json
import random
import time
import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest
import tiny
from mutations import altered, damaged
from safetensors.numpy import load_file, save_file

from mpjax import cli, models
from mpjax.errors import InputError
from mpjax.export import inspect_model, pack_model, unpack_model
from mpjax.files import MOST_DEPTH
from mpjax.models.hf.tensors import read_tensors
from mpjax.models.packed.coding import Coded, Mask, Stream, decode_array, decompress
from mpjax.models.packed.file import PackedModel, PackedTensor, read_packed, write_packed

WORDS = "bert.embeddings.word_embeddings.weight"
EMPTY = Mask("none", Stream("stored", b""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.model(tmp_path_factory.mktemp("untrusted") / "model")


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the model that a test may spoil."""
    copied = tmp_path / "model"
    copied.mkdir()
    for path in folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return copied


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "m.mpz"
    pack_model(folder, path, int8=True, embeddings="float16")
    return path


def header_of(path):
    """Header of a packed model as JSON values, and its streams."""
    body = path.read_bytes()[:-32]
    end = 16 + int.from_bytes(body[8:16], "little")
    return json.loads(zlib.decompress(body[16:end])), body[end:]


def sealed(path, header, streams, start=b"MPJAXPK\x01"):
    """Writes a packed model with a right checksum; the header is JSON values or bytes."""
    text = header if isinstance(header, bytes) else zlib.compress(json.dumps(header).encode())
    body = start + len(text).to_bytes(8, "little") + text + streams
    path.write_bytes(body + hashlib.sha256(body).digest())
    return path


def reconfigure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def spoil(folder, value, name=WORDS):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name].reshape(-1)[[1, 3]] = value
    save_file(tensors, path, metadata={"format": "pt"})


def peak(action):
    """Bytes that an action takes at most, and its error."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            action()
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


def same(one, other):
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype and np.array_equal(one[n], other[n]) for n in one
    )


def test_a_changed_header_with_a_right_checksum_is_noticed(packed, tmp_path):
    header, streams = header_of(packed)
    restored, dice, path = read_packed(packed).restore(), random.Random(0), tmp_path / "m.mpz"
    assert same(read_packed(sealed(path, header, streams)).restore(), restored)
    begun, text = time.monotonic(), json.dumps(header).encode()
    for _ in range(400):
        changed = (
            zlib.compress(damaged(dice, text)) if dice.random() < 0.4 else altered(dice, header)
        )
        sealed(path, changed, streams)
        try:
            found = read_packed(path).restore()
        except InputError as error:
            assert str(path) in str(error)
            assert len(str(error)) < 1000
        else:  # names are free, and a dtype of a rounded table is
            assert sum(t.nbytes for t in found.values()) < 1 << 22
    assert time.monotonic() - begun < 60


def test_changed_streams_with_a_right_checksum_are_noticed(packed, tmp_path):
    header, streams = header_of(packed)
    dice, path = random.Random(1), tmp_path / "m.mpz"
    for _ in range(100):
        sealed(path, header, damaged(dice, streams), b"MPJAXPK\x01")
        try:
            read_packed(path).restore()
        except InputError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda array: array.update(shape=[10**6, 10**6], mask=["none", "stored", 0]), "claims|GB"),
        (lambda array: array.update(shape=[-1, 4]), "0 or more"),
        (lambda array: array.update(kept=10**15), "keeps 10+ of"),
        (lambda array: array.update(dtype="object"), "dtype 'object'"),
        (lambda array: array.update(dtype="int32"), "stored as int32"),
        (lambda array: array.update(mask=["bitmap", "rle", 0]), "coder 'rle'"),
        (lambda array: array.update(mask=["holes", "stored", 0]), "form 'holes'"),
        (lambda array: array.update(values=["stored", 10**9]), "bytes where"),
        (lambda array: array.update(more=1), "nothing else"),
    ],
)
def test_claims_of_a_header_are_compared_with_the_bytes(packed, tmp_path, change, said):
    header, streams = header_of(packed)
    change(header["tensors"]["bert.embeddings.LayerNorm.weight"]["stored"])
    path = sealed(tmp_path / "m.mpz", header, streams)
    with pytest.raises(InputError, match=rf"m\.mpz.*({said}).*pack|m\.mpz needs .* GB"):
        read_packed(path).restore()


def test_bombs_do_not_go_off(packed, tmp_path):
    header, streams = header_of(packed)
    zeros = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(300)) + zeros.flush()
    array = Coded("float32", (8,), 8, Mask("all", EMPTY.stream), Stream("huffman", bomb), EMPTY)
    write_packed(tmp_path / "stream.mpz", PackedModel({}, {"w": PackedTensor("float32", array)}))
    taken, said = peak(read_packed(tmp_path / "stream.mpz").restore)
    assert (taken < 5e6, "where 32 belong" in said) == (True, True)
    write_packed(tmp_path / "file.mpz", PackedModel({"vocab.txt": Stream("huffman", bomb)}, {}))
    taken, said = peak(lambda: read_packed(tmp_path / "file.mpz").read_file("vocab.txt"))
    assert (taken < 1.5e8, "vocab.txt has a stream" in said) == (True, True)
    sealed(tmp_path / "header.mpz", zlib.compress(bytes(300 << 20)), b"")
    taken, said = peak(lambda: read_packed(tmp_path / "header.mpz"))
    assert (taken < 5e7, "header" in said) == (True, True)
    huge = header["tensors"]["bert.embeddings.LayerNorm.weight"]["stored"]
    nothing = [10**5, 10**5], 0, ["none", "stored", 0], ["stored", 0], ["none", "stored", 0]
    huge |= dict(zip(("shape", "kept", "mask", "values", "signs"), nothing, strict=True))
    sealed(tmp_path / "sparse.mpz", header, streams)
    taken, said = peak(lambda: read_packed(tmp_path / "sparse.mpz").restore())
    assert taken < 5e7
    copies = header_of(packed)[0]
    copies["tensors"] |= {f"copy{i}": {"same_as": WORDS} for i in range(30_000)}
    sealed(tmp_path / "copies.mpz", copies, streams)
    taken, said = peak(lambda: read_packed(tmp_path / "copies.mpz").restore())
    assert (taken < 1e8, "claims" in said) == (True, True)


def test_scales_and_streams_belong_to_their_tensor(packed, tmp_path):
    header, streams = header_of(packed)
    path = sealed(tmp_path / "m.mpz", header, streams + b"x")
    with pytest.raises(InputError, match="1 bytes belong to no stream"):
        read_packed(path)
    scaled = next(entry for entry in header["tensors"].values() if "scales" in entry)
    scaled["scales"]["shape"] = [2, scaled["scales"]["shape"][0] // 2]
    with pytest.raises(InputError, match="scales that do not belong to its rows"):
        read_packed(sealed(path, header, streams))


def test_a_tensor_of_two_names_is_restored_once(packed, tmp_path, monkeypatch):
    header, streams = header_of(packed)
    header["tensors"]["copy"] = {"same_as": WORDS}
    read = read_packed(sealed(tmp_path / "m.mpz", header, streams))
    calls, restore = [], PackedTensor.restore
    monkeypatch.setattr(PackedTensor, "restore", lambda one: calls.append(one) or restore(one))
    restored = read.restore()
    assert restored["copy"] is restored[WORDS]
    assert len(calls) == len({id(tensor) for tensor in read.tensors.values()}) < len(restored)
    header["tensors"]["copy"] = {"same_as": "later"}
    with pytest.raises(InputError, match="'later', which is not before it"):
        read_packed(sealed(tmp_path / "m.mpz", header, streams))


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "", ".", "..", "nul\0", "x" * 300], ids=lambda name: name[:9]
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    path = sealed(tmp_path / "m.mpz", {"files": {name: ["stored", 0]}, "tensors": {}}, b"")
    with pytest.raises(InputError, match="no name of a file"):
        read_packed(path)


def test_masks_that_do_not_fit_their_array_are_refused():
    def array(mask, kept=1, size=4, values=b"\0\0\x80?"):
        return Coded("float32", (size,), kept, mask, Stream("stored", values), EMPTY)

    beyond = Mask("gaps", Stream("stored", bytes([4])))
    both = Mask("bitmap", Stream("stored", b"\xc0"))
    long = Mask("bitmap", Stream("stored", b"\x80\0"))
    filled = Mask("none", Stream("stored", b"\0"))
    for mask in (beyond, both, long, Mask("all", EMPTY.stream)):
        with pytest.raises(ValueError, match="has a"):
            decode_array(array(mask))
    with pytest.raises(ValueError, match="where 0 belong"):
        decode_array(array(filled, kept=0, values=b""))
    assert decode_array(array(Mask("gaps", Stream("stored", bytes([3])))))[3] == 1.0
    with pytest.raises(ValueError, match="damaged huffman"):
        decompress(Stream("huffman", b"\xff\xff"), 10)


HOSTILE = {
    "layers": ({"num_hidden_layers": 100_000}, "num_hidden_layers must be 256 at most"),
    "many layers": ({"num_hidden_layers": 200}, "asks for 200 layers"),
    "words": ({"vocab_size": 10**12}, "vocab_size must be"),
    "many words": ({"vocab_size": 10**7}, r"at least 160,00\d,\d+ weights"),
    "width": ({"hidden_size": 10**9}, "hidden_size must be"),
    "wide": ({"hidden_size": 1 << 20}, "at least"),
    "ffn": ({"intermediate_size": 10**9}, "intermediate_size must be"),
    "wide ffn": ({"intermediate_size": 1 << 24}, "at least"),
    "removed units": (
        {"intermediate_size": 1 << 24, "hidden_size": 16, "ffn_per_layer": [24]},
        "GB of memory",
    ),
    "removed from all": (
        {"dense_intermediate_size": 1 << 24, "hidden_size": 16},
        "GB of memory",
    ),
    "positions": ({"max_position_embeddings": 10**7}, "at least"),
    "types": ({"type_vocab_size": 10**7}, "at least"),
    "labels": ({"num_labels": 10**9, "id2label": None}, "num_labels must be"),
    "heads": ({"num_attention_heads": 10**8, "heads_per_layer": [1]}, "num_attention_heads must"),
    "act": ({"hidden_act": ["gelu"]}, r"hidden_act \['gelu'\] is not supported"),
    "act dict": ({"hidden_act": {"a": 1}}, "is not supported"),
    "type": ({"model_type": ["bert"]}, "model_type is"),
    "pad": ({"pad_token_id": [0]}, "pad_token_id must be"),
    "norm": ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be"),
    "range": ({"initializer_range": float("inf")}, "initializer_range must be"),
    "bool": ({"hidden_size": True}, "hidden_size must be"),
    "pruned": ({"pruned_heads": {"9" * 5000: [0]}}, "pruned_heads must"),
    "long": ({"hidden_act": "x" * 10**6}, "is not supported"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_configs_are_compared_with_the_weights(copy, name, monkeypatch):
    changes, said = HOSTILE[name]
    if name.startswith("removed"):
        monkeypatch.setattr("mpjax.models.room.available", lambda: 1 << 30)
    reconfigure(copy, **changes)
    for action in (
        lambda: models.load_model(copy, "mlm"),
        lambda: inspect_model(copy),
        lambda: models.load_plain(copy),
    ):
        begun = time.monotonic()
        taken, message = peak(action)
        assert time.monotonic() - begun < 2  # a tenth of that on a machine of its own
        assert taken < 5e7
        assert len(message) < 1000
        with pytest.raises(InputError, match=said):
            action()


def test_layers_are_counted_in_tensors(copy):
    path = copy / "model.safetensors"
    save_file(load_file(path) | {"padding": np.zeros((1000, 1000), np.float32)}, path)
    reconfigure(copy, num_hidden_layers=200)
    with pytest.raises(InputError, match="asks for 200 layers"):
        read_tensors(copy)


@pytest.mark.parametrize("threshold", [float("nan"), "0.1", [0.1], True])
def test_a_threshold_is_a_number(copy, threshold):
    path = copy / "model.safetensors"
    query = "bert.encoder.layer.0.attention.self.query.mask_scores"
    save_file(load_file(path) | {query: np.zeros((16, 16), np.float32)}, path)
    reconfigure(copy, pruning_method="topK", threshold=threshold)
    with pytest.raises(InputError, match=r"threshold in config\.json must be a number"):
        models.load_plain(copy)
    reconfigure(copy, pruning_method=["topK"])
    with pytest.raises(InputError, match=r"pruning_method in config.json is \['topK'\]"):
        models.load_plain(copy)


def test_no_mutation_of_a_config_gives_a_traceback(copy):
    path, dice = copy / "config.json", random.Random(2)
    text = path.read_text()
    for _ in range(60):
        if dice.random() < 0.5:
            path.write_bytes(damaged(dice, text.encode()))
        else:
            path.write_text(json.dumps(altered(dice, json.loads(text))))
        try:
            models.load_plain(copy)
        except InputError as error:
            assert str(copy) in str(error)
            assert len(str(error)) < 1000


def test_no_mutation_of_weights_gives_a_traceback(copy):
    path, dice = copy / "model.safetensors", random.Random(3)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(100):
        header = damaged(dice, content[8:end])
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
        try:
            read_tensors(copy)
        except InputError as error:
            assert str(copy) in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_values_that_are_not_finite_are_counted(copy, value, dtype):
    path = copy / "model.safetensors"
    tensors = {n: t.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
               for n, t in load_file(path).items()}  # fmt: skip
    save_file(tensors, path, metadata={"format": "pt"})
    read_tensors(copy)
    spoil(copy, value)
    with pytest.raises(InputError, match=rf"safetensors: 2 of [\d,]+ entries of tensor {WORDS}"):
        read_tensors(copy)


def test_every_command_refuses_a_model_that_is_not_finite(copy, tmp_path, capsys):
    packed = tmp_path / "ill.mpz"
    spoil(copy, np.nan)
    arrays = {name: PackedTensor("float32", _stored(t)) for name, t in _load(copy).items()}
    files = {"config.json": Stream("stored", (copy / "config.json").read_bytes())}
    write_packed(packed, PackedModel(files, arrays))
    data = tiny.data(tmp_path / "data")
    good = tiny.model(tmp_path / "good" / "model")
    train = ["train", "--task", "sst2", "--data", str(data), "--max-length", "16", "--steps", "2"]
    train += ["--method", "magnitude", "--density", "0.5", "--output", str(tmp_path / "run")]
    evaluate = ["evaluate", "--task", "sst2", "--data", str(data), "--max-length", "16"]
    for words in (
        [*train, "--model", copy],
        [*train, "--model", good, "--teacher", copy],
        [*evaluate, "--model", copy],
        ["inspect", copy],
        ["inspect", packed],
        ["shrink", copy, "--output", tmp_path / "out"],
        ["export", copy, "--output", tmp_path / "out"],
        ["pack", copy, "--output", tmp_path / "out.mpz"],
        ["unpack", packed, "--output", tmp_path / "out"],
    ):
        assert cli.main([str(word) for word in words]) == 2, words
        said = capsys.readouterr().err
        assert f"of tensor {WORDS} are not finite" in said, words
    assert not (tmp_path / "out").exists()


def _load(folder):
    return load_file(folder / "model.safetensors")


def _stored(tensor):
    from mpjax.models.packed.coding import encode_array

    return encode_array(tensor)


def test_weights_of_whole_numbers_are_refused(copy):
    path = copy / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {WORDS: tensors[WORDS].astype(np.int32)}, path)
    with pytest.raises(InputError, match=f"tensor {WORDS} has the dtype int32"):
        models.load_model(copy, "mlm")
    save_file(tensors | {"bert.embeddings.position_ids": np.arange(32)[None]}, path)
    models.load_model(copy, "mlm")


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F8_E4M3", "X32"])
def test_dtypes_that_numpy_does_not_have(copy, dtype):
    (copy / "config.json").unlink()  # sizes are not compared
    path = copy / "model.safetensors"
    header = {WORDS: {"dtype": dtype, "shape": [2, 4], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(InputError, match=r"model\.safetensors is not a readable"):
        read_tensors(copy)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": ["model.safetensors"]},
        {"a": 1, "b": "x"},
        {"a": "../model/model.safetensors"},
        {"a": "."},
        {"a": "x" * 5000},
        {"a": "nul\0"},
    ],
    ids=repr,
)
def test_an_index_names_files_of_its_folder_only(copy, weight_map):
    (copy / "model.safetensors").rename(copy / "other.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=r"index\.json (has no|names)") as caught:
        read_tensors(copy)
    assert len(str(caught.value)) < 500


def test_links_of_a_hub_cache_are_followed(copy, tmp_path):
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for path in copy.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert models.load_model(snapshot, "mlm").fresh == ()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="does not exist"):
        models.local_folder(tmp_path / "dangling")


@pytest.mark.parametrize("name", ["a" * 5000, "b/" + "a" * 5000, "nul\0", "~nobody-here/x"])
def test_names_that_no_disk_and_no_hub_has(name):
    with pytest.raises(InputError, match="does not exist") as caught:
        models.local_folder(name)
    assert len(str(caught.value)) < 500


def test_a_view_of_few_bytes_is_no_tensor(copy):
    torch = pytest.importorskip("torch")
    (copy / "model.safetensors").unlink()
    torch.save({WORDS: torch.zeros(1).expand(10**6, 10**6)}, copy / "pytorch_model.bin")
    with pytest.raises(InputError, match="no bytes of its own"):
        read_tensors(copy)


def test_a_damaged_tokenizer_is_named(copy):
    path, dice = copy / "tokenizer.json", random.Random(4)
    content = path.read_bytes()
    for _ in range(20):
        path.write_bytes(damaged(dice, content))
        try:
            models.load_tokenizer(copy)
        except InputError as error:
            assert str(copy) in str(error)
    (copy / "tokenizer_config.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)
    with pytest.raises(InputError, match="tokenizer of"):
        models.load_tokenizer(copy)


def test_code_of_a_folder_is_not_run(copy):
    (copy / "evil.py").write_text("raise SystemExit('ran')")
    auto = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(auto))
    begun = time.monotonic()
    try:
        models.load_tokenizer(copy)
    except InputError as error:
        assert "tokenizer of" in str(error)
    assert time.monotonic() - begun < 10


def test_a_new_model_that_no_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr("mpjax.models.room.available", lambda: 10**6)
    with pytest.raises(InputError, match=r"the new model needs 0\.4 GB"):
        models.new_model(models.BertConfig(), "mlm")


def test_unpacking_bounds_its_files(packed, tmp_path):
    assert unpack_model(packed, tmp_path / "out").is_dir()
    assert MOST_DEPTH < 1000  # below the recursion limit of Python
