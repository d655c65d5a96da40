"""Structured runs and filled runs from end to end, and what is said about wrong options."""

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file

from mpjax import models
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.optim.transforms import hold_zeros
from mpjax.pruning import NofM, Pruning, flatten, make_rule
from mpjax.report import measure
from mpjax.runs.checkpoints import read_latest
from mpjax.runs.folder import RunDir
from mpjax.training import train as training
from mpjax.training.filling import fill, live_masks
from mpjax.training.prepare import prepare
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")

HYBRID = {"structure": "attention=block:8x8,ffn=units", "density": 0.5}
BASE = {"model": "some/name", "task": "sst2", "output": "run"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def hybrid(root):
    train(tiny.config(root, output=str(root / "hybrid"), **HYBRID))
    return RunDir(root / "hybrid")


def weights(run, end):
    [tensor] = [t for n, t in load_file(run.model / "model.safetensors").items() if n.endswith(end)]
    return tensor  # (out, in)


@pytest.mark.slow
def test_a_hybrid_run_prunes_blocks_and_whole_units(hybrid):
    first = weights(hybrid, "intermediate.dense.weight") != 0
    tensors = load_file(hybrid.model / "model.safetensors")
    out = next(t for n, t in tensors.items() if n.endswith("layer.0.output.dense.weight")) != 0
    np.testing.assert_array_equal(first, np.repeat(first[:, :1], 16, axis=1))
    np.testing.assert_array_equal(out, np.repeat(first[:, :1].T, 16, axis=0))
    assert first[:, 0].sum() == 12
    for name in ("query", "key", "value"):
        blocks = (weights(hybrid, f"self.{name}.weight") != 0).reshape(2, 8, 2, 8).sum(axis=(1, 3))
        assert sorted(blocks.ravel().tolist()) == [0, 0, 64, 64]
    result = hybrid.read_result()
    assert result["linear_density"] == measure(tensors).linear == 0.5
    assert resolve(tiny.config(hybrid.path.parent, **HYBRID)).structure == HYBRID["structure"]


@pytest.mark.slow
def test_a_stopped_hybrid_run_continues_to_the_same_bits(hybrid, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    write = training.Journal.train

    def stop_at_four(self, number, metrics):
        write(self, number, metrics)
        if number == 4:
            raise Stop

    config = tiny.config(
        hybrid.path.parent, output=str(tmp_path / "run"), checkpoint_every=2, **HYBRID
    )
    with monkeypatch.context() as patch:
        patch.setattr(training.Journal, "train", stop_at_four)
        with pytest.raises(Stop):
            train(config)
    train(config)
    run = RunDir(tmp_path / "run")
    assert run.metrics.read_bytes() == hybrid.metrics.read_bytes()
    mine, theirs = (r.model / "model.safetensors" for r in (run, hybrid))
    assert mine.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_a_filled_run_gives_back_what_survives_and_keeps_the_rest_at_zero(hybrid, root):
    options = {"model": "", "method": "dense", "density": None, "weight_decay": 0.1}
    config = tiny.config(root, output=str(root / "filled"), fill_from=str(hybrid.path), **options)
    job = prepare(resolve(config))
    pruned = flatten(models.load_model(hybrid.model, "classification").params)
    trained = flatten(read_latest(hybrid.checkpoints)["params"])
    start = flatten(job.inputs.model.params)
    masks = flatten(job.inputs.held)
    assert len(masks) == 6 and not all(m.all() for m in masks.values())
    more = 0
    for path, value in start.items():
        if path in masks:
            alive = np.broadcast_to(masks[path], value.shape)
            np.testing.assert_array_equal(value, np.where(alive, trained[path], 0))
            more += np.sum((value != 0) & (np.asarray(pruned[path]) == 0))
        else:
            np.testing.assert_array_equal(value, pruned[path])
    assert more > 0, "the run should have something to give back"
    result = train(config)
    end = flatten(models.load_model(root / "filled" / "model", "classification").params)
    for path, mask in masks.items():
        alive = np.broadcast_to(mask, end[path].shape)
        assert not np.any(np.asarray(end[path])[~alive])
        assert np.count_nonzero(end[path]) == alive.sum()
        assert not alive.any() or np.any(np.asarray(end[path]) != start[path])
    alive = [np.broadcast_to(mask, end[path].shape) for path, mask in masks.items()]
    share = sum(m.sum() for m in alive) / sum(m.size for m in alive)
    assert result["linear_density"] == pytest.approx(share)
    with pytest.raises(InputError, match=r"--model some/name does not apply"):
        resolve(tiny.config(root, **{**options, "model": "some/name"}, fill_from=str(hybrid.path)))


def test_what_survives_is_what_still_carries_something():
    rng = np.random.default_rng(0)
    layer = {f"attention/{n}": rng.normal(size=(8, 8)) for n in ("query", "key", "value", "output")}
    layer |= {"ffn/in": rng.normal(size=(8, 6)), "ffn/out": rng.normal(size=(6, 8))}
    layer["attention/query"][:, 0:2] = 0  # head 0 averages: it survives
    layer["attention/value"][:, 2:4] = 0  # head 1 adds a constant
    layer["attention/output"][4:6] = 0  # head 2 is not read
    layer["attention/value"][:, 6] = layer["attention/output"][7] = 0  # head 3: no whole feature
    layer["ffn/in"][:, 1] = layer["ffn/out"][4] = 0
    masks = live_masks({f"l/{path}/kernel": w for path, w in layer.items()}, head_size=2)
    heads = [True, True, False, False, False, False, False, False]
    assert masks["l/attention/key/kernel"].tolist() == [heads]
    assert masks["l/attention/output/kernel"][:, 0].tolist() == heads
    assert masks["l/ffn/in/kernel"].tolist() == [[True, False, True, True, False, True]]
    assert masks["l/ffn/out/kernel"].shape == (6, 1)


def test_filling_needs_a_finished_run_with_something_dead(root, hybrid, tmp_path):
    options = {"model": "", "density": None, "output": str(tmp_path / "x")}
    for method, start, words in (
        ("dense", str(root / "model"), "is not the folder of a run"),
        ("soft_movement", str(hybrid.path), "use --method dense"),
    ):
        with pytest.raises(InputError, match=words):
            resolve(tiny.config(root, **options, method=method, fill_from=start))
    whole = models.load_model(root / "model", "classification")
    with pytest.raises(InputError, match="every head and every FFN unit"):
        fill(hybrid.path, whole)
    with pytest.raises(InputError, match="holds no checkpoint"):
        read_latest(tmp_path / "checkpoints")
    tx = hold_zeros({"a": np.array([[True], [False]])})
    grads = {"params": {"a": np.full((2, 3), np.nan)}, "scores": {}}
    held = tx.update(grads, tx.init(grads))[0]["params"]["a"]
    assert np.isnan(held[0]).all() and not np.any(held[1])


@pytest.mark.slow
@pytest.mark.parametrize("family", tiny.CONFIGS)
def test_heads_and_units_are_found_in_every_family(family, tmp_path):
    config = tiny.CONFIGS[family](
        vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=12,
    )  # fmt: skip
    params = models.new_model(config, "classification").params
    structure = models.parse_structure("heads", config.head_size)
    groups = Pruning(make_rule("movement"), models.PRUNABLE, structure).groups(params)
    assert [(g.shape, len(g.kernels), g.covers) for g in groups] == [
        ((4,), 4, 64), ((12,), 2, 16), ((4,), 4, 64), ((12,), 2, 16)
    ]  # fmt: skip
    assert groups[0].path.endswith("encoder/layer_0/attention/heads")
    assert groups[1].path.endswith("encoder/layer_0/ffn/units")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"structure": "block:3x3"}, ["blocks of 3 x 3", "attention/key/kernel", "16 x 16"]),
        ({"structure": "hybrid"}, ["blocks of 32 x 32", "16 x 16"]),
        ({"structure": "3:5", "density": None}, ["5 consecutive inputs", "16 x 16"]),
    ],
    ids=str,
)
def test_sizes_that_do_not_divide_are_named_before_anything_is_written(
    options, parts, root, tmp_path
):
    config = tiny.config(root, output=str(tmp_path / "run"), **options)
    with pytest.raises(InputError) as error:
        train(config)
    for part in parts:
        assert part in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"structure": "blocks"}, ["--structure is 'blocks'", "block:ROWSxCOLUMNS"]),
        ({"structure": "units"}, ["--structure is 'units'", "units for ffn"]),
        ({"structure": "attention=units"}, ["units for ffn"]),
        ({"structure": "ffn=heads"}, ["heads are for attention"]),
        ({"structure": "attention=rows,attention=rows"}, ["--structure"]),
        ({"structure": "pooler=rows"}, ["--structure"]),
        ({"structure": "block:0x4"}, ["empty block"]),
        ({"structure": "5:4"}, ["from 1 to 4"]),
        ({"structure": "2:4"}, ["--density 0.3", "2:4", "0.5"]),
        ({"structure": "2:4", "density": None, "scope": "global"}, ["--scope global", "2:4"]),
        (
            {"structure": "2:4", "method": "soft_movement", "density": None, "final_lambda": 1.0},
            ["2:4", "soft_movement", "movement"],
        ),
        ({"structure": "rows", "method": "dense", "density": None}, ["--structure", "dense"]),
        ({"lambda_ffn": 2.0}, ["--lambda-ffn", "movement"]),
        (
            {"lambda_attention": -1.0, "method": "soft_movement", "density": None,
             "final_lambda": 1.0},
            ["--lambda-attention is -1.0"],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_option_is_named(options, parts):
    with pytest.raises(InputError) as error:
        resolve(TrainConfig(**(BASE | {"method": "movement", "density": 0.3} | options)))
    for part in parts:
        assert part in str(error.value)


def test_an_n_of_m_structure_brings_its_density():
    for method in ("movement", "magnitude", "l0"):
        config = resolve(TrainConfig(**BASE, method=method, structure="1:4"))
        assert (config.density, config.final_threshold) == (0.25, 0.25)
        assert resolve(config) == config
    config = resolve(
        TrainConfig(**BASE, method="movement", structure="attention=2:4,ffn=units", density=0.1)
    )
    assert config.final_threshold == 0.1
    made = models.parse_structure("attention=2:4", 8, lambda_ffn=2.0)
    assert made.parts[0].granularity == NofM(2, 4) and made.parts[1].penalty == 2.0
