"""Folders in the format of released models: loaded with the logits of PyTorch modules.

The PyTorch side is written here from the description of those folders, linear layers (out, in).
"""

import json
import math
from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny

from mpjax import models
from mpjax.errors import InputError
from mpjax.export import export_model, inspect_model, shrink_model
from mpjax.export.with_scores import export_with_scores
from mpjax.models import load_plain
from mpjax.pruning import flatten
from mpjax.runs.checkpoints import read_latest
from mpjax.training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("programs")]

torch = pytest.importorskip("torch")
functional = torch.nn.functional

H, N, F, LAYERS = 24, 4, 20, 2
D = H // N
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForQuestionAnswering"],
    "vocab_size": 31,
    "hidden_size": H,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": N,
    "intermediate_size": F,
    "max_position_embeddings": 14,
    "type_vocab_size": 2,
}
MATRICES = (
    "attention.self.query", "attention.self.key", "attention.self.value",
    "attention.output.dense", "intermediate.dense", "output.dense",
)  # fmt: skip


def state(seed=0):
    """Random tensors of a question-answering model under PyTorch names, without zeros."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "embeddings.word_embeddings": (31, H), "embeddings.position_embeddings": (14, H),
        "embeddings.token_type_embeddings": (2, H), "embeddings.LayerNorm": (H,),
    }  # fmt: skip
    sizes = [(H, H)] * 4 + [(F, H), (H, F)]
    for i in range(LAYERS):
        layer = dict(zip(MATRICES, sizes, strict=True))
        layer |= {"attention.output.LayerNorm": (H,), "output.LayerNorm": (H,)}
        shapes |= {f"encoder.layer.{i}.{name}": shape for name, shape in layer.items()}
    shapes = {f"bert.{name}": shape for name, shape in shapes.items()} | {"qa_outputs": (2, H)}
    made = {}
    for name, shape in shapes.items():
        made[name + ".weight"] = 0.3 * torch.randn(shape, generator=generator)
        if "_embeddings" not in name:
            made[name + ".bias"] = 0.3 * torch.randn(shape[:1], generator=generator)
    return made


def masks_of(method, weights, scores, threshold):
    """Masks as masked linear layers make them in evaluation; blocks repeated."""
    masks = {}
    for name, weight in weights.items():
        score = weight.abs() if method == "magnitude" else scores[name]
        if method in ("topK", "magnitude"):
            kept = score.flatten().argsort(descending=True)[: int(threshold * score.numel())]
            mask = torch.zeros(score.numel()).index_fill(0, kept, 1.0).view(score.shape)
        elif method == "l0":
            mask = (torch.sigmoid(score) * 1.2 - 0.1).clamp(0, 1)
        else:
            value = torch.sigmoid(score) if method == "sigmoied_threshold" else score
            mask = (value > threshold).float()
            least = int(0.005 * score.numel()) + 1
            if mask.sum() < least:
                mask = (score > score.flatten().kthvalue(score.numel() - least).values).float()
        rows, cols = (weight.shape[i] // mask.shape[i] for i in range(2))
        masks[name] = mask.repeat_interleave(rows, 0).repeat_interleave(cols, 1)
    return masks


def batch():
    rng = np.random.default_rng(1)
    mask = (np.arange(9)[None] < np.array([9, 5, 2])[:, None]).astype(np.int32)
    return rng.integers(3, 31, (3, 9)).astype(np.int32), mask


def torch_logits(w, act="gelu", norm="layer_norm"):
    """Logits of a BERT with as many heads as its query matrix has."""
    ids, mask = (torch.tensor(x).long() for x in batch())

    def linear(x, name):
        return functional.linear(x, w[name + ".weight"], w[name + ".bias"])

    def normal(x, name):
        weight, bias = w[name + ".LayerNorm.weight"], w[name + ".LayerNorm.bias"]
        if norm == "no_norm":
            return x * weight + bias
        return functional.layer_norm(x, (H,), weight, bias, 1e-12)

    e = "bert.embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][: ids.shape[1]]
    x = normal(x + w[e + "token_type_embeddings.weight"][0], "bert.embeddings")
    for i in range(LAYERS):
        p = f"bert.encoder.layer.{i}."
        q, k, v = (
            linear(x, p + name).view(*ids.shape, -1, D).transpose(1, 2) for name in MATRICES[:3]
        )
        scores = q @ k.transpose(2, 3) / math.sqrt(D)
        scores = scores.masked_fill(mask[:, None, None] == 0, torch.finfo(scores.dtype).min)
        context = (scores.softmax(-1) @ v).transpose(1, 2).reshape(*ids.shape, -1)
        x = normal(x + linear(context, p + MATRICES[3]), p + "attention.output")
        hidden = getattr(functional, act)(linear(x, p + MATRICES[4]))
        x = normal(x + linear(hidden, p + MATRICES[5]), p + "output")
    return linear(x, "qa_outputs").numpy()


def folder(path, tensors, **keys):
    """A released folder: a pickle of PyTorch tensors and its config."""
    path.mkdir(parents=True)
    torch.save(tensors, path / "pytorch_model.bin")
    (path / "config.json").write_text(json.dumps(CONFIG | keys))
    return path


def assert_logits(model, expected):
    assert model.fresh == () and model.stored_scores is None
    ours = np.asarray(model.module.apply({"params": model.params}, *batch()))
    np.testing.assert_allclose(ours, expected, atol=3e-5 * np.abs(expected).max())


def weight_names():
    return [f"bert.encoder.layer.{i}.{name}.weight" for i in range(LAYERS) for name in MATRICES]


def with_zero_blocks(w):
    """Zero 6 x 6 blocks in attention, the blocks of head 1 of layer 0 among them."""
    rng = np.random.default_rng(2)
    for name in weight_names():
        if "attention" in name:
            keep = torch.tensor(rng.random((N, N)) < 0.6).float()
            w[name] *= keep.repeat_interleave(D, 0).repeat_interleave(D, 1)
    w["bert.encoder.layer.0.attention.self.value.weight"][D : 2 * D] = 0
    return w


def without_heads(w, pruned):
    """Q, K, V without the rows of the pruned heads, the output without their columns."""
    for i, heads in pruned.items():
        keep = [f for f in range(H) if f // D not in heads]
        p = f"bert.encoder.layer.{i}."
        for name in MATRICES[:3]:
            for leaf in (".weight", ".bias"):
                w[p + name + leaf] = w[p + name + leaf][keep]
        w[p + MATRICES[3] + ".weight"] = w[p + MATRICES[3] + ".weight"][:, keep]
    return w


def with_zero_units(w):
    for i in range(LAYERS):
        w[f"bert.encoder.layer.{i}.intermediate.dense.weight"][3 * i : 11] = 0
        w[f"bert.encoder.layer.{i}.output.dense.weight"][:, 9:15] = 0
    return w


PRUNED = {0: [0, 2], 1: [3]}
KINDS = {
    "zeros": (with_zero_blocks, {"pruning_method": "topK", "mask_block_rows": 32,
                                 "mask_block_cols": 32}),
    "masked type": (with_zero_blocks, {"model_type": "masked_bert", "pruning_method": "magnitude",
                                       "architectures": ["MaskedBertForQuestionAnswering"]}),
    "pruned heads": (lambda w: without_heads(w, PRUNED), {"pruned_heads": PRUNED}),
    "hybrid": (lambda w: with_zero_units(without_heads(w, PRUNED)),
               {"pruned_heads": PRUNED, "hidden_act": "relu"}),
    "opt": (lambda w: with_zero_units(w), {"layer_norm_type": "no_norm", "hidden_act": "relu"}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_released_folder_loads_inspects_shrinks_and_becomes_dense(kind, tmp_path):
    change, keys = KINDS[kind]
    w = change(state())
    source = folder(tmp_path / "released", w, **keys)
    expected = torch_logits(w, keys.get("hidden_act", "gelu"), keys.get("layer_norm_type"))
    assert_logits(models.load_model(source, "qa"), expected)
    density = inspect_model(source)
    kept = sum(int((w[name] != 0).sum()) for name in weight_names())
    assert density.linear == kept / (LAYERS * (4 * H * H + 2 * H * F))
    removed, _, _ = shrink_model(source, tmp_path / "small")
    small = models.load_model(tmp_path / "small", "qa")
    assert_logits(small, expected)
    alive = kind == "pruned heads"  # the dead ones are gone from it already
    assert (removed.parameters_after == removed.parameters_before) == alive
    assert inspect_model(tmp_path / "small").linear <= density.linear
    export_model(tmp_path / "small", tmp_path / "dense")
    dense = models.load_model(tmp_path / "dense", "qa")
    assert_logits(dense, expected)
    assert not dense.config.pruned_heads and dense.config.ffn_per_layer is None
    if "layer_norm_type" not in keys:
        from transformers import BertForQuestionAnswering

        theirs = BertForQuestionAnswering.from_pretrained(tmp_path / "dense").eval()
        ids, mask = (torch.tensor(x).long() for x in batch())
        with torch.no_grad():
            out = theirs(ids, mask)
        both = torch.stack([out.start_logits, out.end_logits], -1).numpy()
        np.testing.assert_allclose(both, expected, atol=3e-5 * np.abs(expected).max())
    with pytest.raises(InputError, match="not empty"):
        shrink_model(source, tmp_path / "small")


def test_equal_narrow_layers_are_a_plain_folder_for_transformers(tmp_path):
    from transformers import BertForQuestionAnswering

    w = state()
    for i in range(LAYERS):
        w[f"bert.encoder.layer.{i}.intermediate.dense.weight"][5 * i : 5 * i + 7] = 0
    shrink_model(folder(tmp_path / "m", w), tmp_path / "small")
    theirs, info = BertForQuestionAnswering.from_pretrained(  # pyright: ignore
        tmp_path / "small", output_loading_info=True
    )
    assert theirs.config.intermediate_size == F - 7 and not any(info.values())


def checkpoint(path, method, block=(1, 1), keys=None):
    """A training checkpoint; the weights and scores by matrix."""
    w, generator = state(), torch.Generator().manual_seed(5)
    weights, scores = {name: w[name] for name in weight_names()}, {}
    if method != "magnitude":
        for name, weight in weights.items():
            shape = tuple(n // b for n, b in zip(weight.shape, block, strict=True))
            scores[name] = 3 * torch.randn(shape, generator=generator)
    # One matrix of which the threshold alone would leave nothing.
    if scores:
        scores[weight_names()[0]] -= 20
    named = {name.replace("weight", "mask_scores"): score for name, score in scores.items()}
    config = {
        "model_type": "masked_bert",
        "architectures": ["MaskedBertForQuestionAnswering"],
        "pruning_method": method,
        "mask_init": "constant",
        "mask_scale": 0.0,
    }
    source = folder(path, w | named, **(config | (keys or {})))
    return source, w, weights, scores


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "threshold", "block"),
    [
        ("topK", 0.3, (1, 1)),
        ("topK", 0.25, (4, 4)),
        ("threshold", 1.5, (1, 1)),
        ("sigmoied_threshold", None, (1, 1)),
        ("sigmoied_threshold", 0.6, (2, 4)),
        ("magnitude", 0.4, (1, 1)),
        ("l0", None, (1, 1)),
    ],
)
def test_a_training_checkpoint_is_masked_as_pytorch_masks_it(method, threshold, block, tmp_path):
    source, w, weights, scores = checkpoint(tmp_path / "c", method, block)
    masks = masks_of(method, weights, scores, 0.1 if threshold is None else threshold)
    expected = torch_logits(w | {name: w[name] * mask for name, mask in masks.items()})
    model = load_plain(source, threshold=threshold)
    assert_logits(model, expected)
    assert "pruning_method" not in model.config.extra
    with pytest.raises(InputError, match="training checkpoint"):
        models.load_model(source, "qa")
    export_model(source, tmp_path / "plain", threshold=threshold)
    assert_logits(models.load_model(tmp_path / "plain", "qa"), expected)
    kept = sum(int((mask != 0).sum()) for mask in masks.values())
    assert inspect_model(source, threshold).linear == kept / sum(m.numel() for m in masks.values())


@pytest.mark.parametrize(
    ("method", "keys", "threshold", "message"),
    [
        ("topK", {}, None, "does not say its threshold; give --threshold, the fraction"),
        ("threshold", {}, None, "--threshold, the cut on the scores"),
        ("topK", {}, 1.5, "--threshold 1.5 for pruning_method topK"),
        ("topK", {"pruning_method": "topk"}, 0.3, "pruning_method in config.json is 'topk'; known"),
        ("topK", {"threshold": "low"}, None, "threshold in config.json must be a number"),
    ],
)
def test_a_checkpoint_that_cannot_be_masked_is_refused_by_key(
    method, keys, threshold, message, tmp_path
):
    source, *_ = checkpoint(tmp_path / "c", method, keys=keys)
    with pytest.raises(InputError, match=message):
        load_plain(source, threshold=threshold)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(sorted(s)[-1]), "has no mask_scores beside"),
        (lambda s: s.update({sorted(s)[-1]: torch.zeros(5, 7)}), r"shape \(5, 7\), which does not"),
        (lambda s: s.update({"qa_outputs.mask_scores": torch.zeros(2, H)}), "no prunable matrix"),
    ],
)
def test_scores_that_do_not_fit_are_refused_by_name(change, message, tmp_path):
    source, *_ = checkpoint(tmp_path / "c", "topK")
    tensors = torch.load(source / "pytorch_model.bin")
    scores = {name: t for name, t in tensors.items() if "mask_scores" in name}
    rest = {name: t for name, t in tensors.items() if name not in scores}
    change(scores)
    torch.save(rest | scores, source / "pytorch_model.bin")
    with pytest.raises(InputError, match=message):
        load_plain(source, threshold=0.3)


def test_a_threshold_for_a_plain_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="--threshold is for training checkpoints"):
        load_plain(folder(tmp_path / "m", state()), threshold=0.3)


# Runs, exported as training checkpoints and continued from them.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("scores")
    train(tiny.config(root))
    return root / "run"


@pytest.mark.slow
def test_a_checkpoint_is_written_as_it_was_read(run, tmp_path):
    source = export_with_scores(run, tmp_path / "c")
    model = models.load_with_scores(source, "classification")
    again = models.save_model(
        tmp_path / "again", model.config, model.params, model.head, source,
        scores=model.stored_scores.scores,
    )  # fmt: skip
    before, after = ({p.name: p.read_bytes() for p in f.iterdir()} for f in (source, again))
    assert before.pop("README.md")  # the card of the run
    assert before == after and b'"masked_bert"' in before["config.json"]


@pytest.mark.slow
def test_a_run_and_its_checkpoint_hold_the_same_bits(run, tmp_path):
    source = export_with_scores(run, tmp_path / "c")
    config = json.loads((source / "config.json").read_text())
    assert config["pruning_method"] == "topK" and config["threshold"] == 0.3
    state = read_latest(run / "checkpoints")
    model = models.load_with_scores(source, "classification")
    for ours, theirs in (
        (state["params"], model.params),
        (state["scores"], model.stored_scores.scores),
    ):
        ours, theirs = flatten(ours), flatten(theirs)
        assert ours.keys() == theirs.keys()
        for path, leaf in ours.items():
            np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)
    assert any(np.asarray(leaf).any() for leaf in flatten(state["scores"]).values())
    # Masked with the threshold that it says, it is the run's own model again.
    export_model(source, tmp_path / "plain")
    finished = flatten(models.load_model(run / "model", "classification").params)
    for path, leaf in flatten(load_plain(tmp_path / "plain").params).items():
        np.testing.assert_array_equal(leaf, finished[path], err_msg=path)


@pytest.mark.slow
def test_a_run_of_blocks_round_trips_and_goes_on(run, tmp_path):
    root = run.parent
    blocks = {"structure": "block:8x4"}
    train(tiny.config(root, output=str(tmp_path / "run"), **blocks))
    source = export_with_scores(tmp_path / "run", tmp_path / "c")
    config = json.loads((source / "config.json").read_text())
    assert (config["mask_block_rows"], config["mask_block_cols"]) == (4, 8)
    finished = flatten(models.load_model(tmp_path / "run" / "model", "classification").params)
    masked = load_plain(source)
    assert 0 < inspect_model(source).linear < 1
    for path, leaf in flatten(masked.params).items():
        np.testing.assert_array_equal(leaf, finished[path], err_msg=path)
    again = {**blocks, "score_learning_rate": 0.0, "model": str(source), "steps": 2, "warmup": 0}
    train(tiny.config(root, output=str(tmp_path / "again"), **again))
    then, now = (read_latest(tmp_path / name / "checkpoints") for name in ("run", "again"))
    for path, leaf in flatten(then["scores"]).items():
        np.testing.assert_array_equal(leaf, flatten(now["scores"])[path], err_msg=path)
    with pytest.raises(InputError, match="other blocks than --structure block:4x4"):
        train(tiny.config(root, output=str(tmp_path / "r"), **again | {"structure": "block:4x4"}))


@pytest.mark.slow
def test_training_goes_on_from_the_scores(run, tmp_path):
    source = export_with_scores(run, tmp_path / "c")
    before = flatten(read_latest(run / "checkpoints")["scores"])
    common = {"model": str(source), "data": str(run.parent / "data"), "steps": 2, "warmup": 0}
    (tmp_path / "model").mkdir()
    train(tiny.config(tmp_path, **common, score_learning_rate=0.0))
    for path, leaf in flatten(read_latest(tmp_path / "run" / "checkpoints")["scores"]).items():
        np.testing.assert_array_equal(leaf, before[path], err_msg=path)
    with pytest.raises(InputError, match="pruning_method topK, which --method movement continues"):
        train(tiny.config(tmp_path, **common, method="magnitude", output=str(tmp_path / "r")))
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_what_the_published_code_has_no_form_of_is_refused(run, tmp_path):
    path = run / "config.json"
    text = path.read_text()
    try:
        refused = {"scope": "global"}, {"method": "l0"}, {"structure": "hybrid"}, {"prune_every": 5}
        for change in refused:
            message = f"--with-scores does not apply to .*{next(iter(change.values()))}"
            config = json.loads(text) | change
            config["derived"] |= {k: v for k, v in change.items() if k == "prune_every"}
            path.write_text(json.dumps(config))
            with pytest.raises(InputError, match=message):
                export_with_scores(run, tmp_path / "c")
    finally:
        path.write_text(text)
    with pytest.raises(InputError, match="is not a run"):
        export_with_scores(run / "model", tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
@pytest.mark.parametrize("field", ["params", "scores"])
def test_a_checkpoint_that_is_not_finite_is_not_exported(field, run, tmp_path, monkeypatch):
    state = read_latest(run / "checkpoints")
    spoilt = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, leaf.dtype), state[field])
    where = "mpjax.export.with_scores.read_latest"
    monkeypatch.setattr(where, lambda folder: {**state, field: spoilt})
    with pytest.raises(InputError, match=r"checkpoints: .* are not finite"):
        export_with_scores(run, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_model_with_an_empty_layer_is_not_trained(run, tmp_path):
    model = models.load_model(run / "model", "classification")
    words = run.parent / "model"
    for i, sizes in enumerate(({"pruned_heads": ((0, 1),)}, {"ffn_per_layer": (0,)})):
        config = replace(model.config, **sizes)
        params = models.new_model(config, "classification").params
        source = models.save_model(tmp_path / str(i), config, params, "classification", words)
        with pytest.raises(InputError, match="without heads or FFN units and cannot be trained"):
            train(tiny.config(run.parent, model=str(source), output=str(tmp_path / "r")))
    assert not (tmp_path / "r").exists()
