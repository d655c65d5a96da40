"""Plans: arithmetic, and a whole plan on fake devices."""

import dataclasses
import importlib.util
import json

import jax
import pytest

from mpjax import cli
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.planning.chips import CHIPS, GIB
from mpjax.planning.memory import Memory, advice, refused_memory
from mpjax.planning.plan import plan_step
from mpjax.planning.roofline import roofline
from mpjax.planning.shape import read_shape
from mpjax.planning.show import table, to_json
from mpjax.planning.topology import parse_topology, topology_devices


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9:4x4", "'v9' is no TPU.*v5e:4x4"),
        ("v5e", "'' are no extents.*v5e:NxM"),
        ("v5e:4x4x4", "has 2 extents, v5e:NxM"),
        ("v4:4x4", "has 3 extents, v4:NxMxK"),
        ("v5e:3x4", "must be even"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(name, message, capsys):
    with pytest.raises(InputError, match=message):
        parse_topology(name)
    argv = ["plan", "--topology", name, "--model", "bert-base-uncased", "--task", "squad"]
    assert cli.main(argv) == 2
    assert "--topology" in capsys.readouterr().err


def test_without_libtpu_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mpjax\[tpu\]"):
        topology_devices("v5e:2x2")


def test_models_are_read_from_names_and_files(tmp_path):
    base = read_shape("google-bert/bert-base-uncased")
    assert (base.hidden_size, base.num_hidden_layers, base.vocab_size) == (768, 12, 30522)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(base.to_dict() | {"num_hidden_layers": 3}))
    assert read_shape(str(path)).num_hidden_layers == read_shape(str(tmp_path)).num_hidden_layers
    assert read_shape(str(path)).num_hidden_layers == 3
    with pytest.raises(InputError, match="bert-large-uncased"):
        read_shape("bert-huge")
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_shape(str(path))


def test_the_estimate_is_the_longest_of_three():
    chip = CHIPS["v4"]
    line = roofline(chip, chip.flops / 4, chip.hbm_rate / 2, chip.ici_rate / 8)
    assert (line.compute, line.memory, line.interconnect) == (0.25, 0.5, 0.125)
    assert (line.seconds, line.bound) == (0.5, "memory")


def test_what_the_compiler_refuses_is_read_from_its_message():
    message = "HLO temporaries (51.50G) exceeds available HBM (15.75G)."
    assert refused_memory(message, GIB) == Memory(GIB, 0, int(51.5 * GIB))
    assert refused_memory("something else", GIB) is None


def test_advice_names_the_knobs_that_are_left():
    memory = Memory(4 * GIB, 0, 40 * GIB)
    config = TrainConfig(batch_size=64)
    all_of_them = advice(config, memory, 16 * GIB, 8, (3 * GIB, GIB))
    # 40 GiB of temporaries fit into 12 GiB in 4 parts; a device has 8 rows.
    assert [line.split()[0] for line in all_of_them] == [
        "--remat:", "--accumulate", "--dtype", "--mesh",
    ]  # fmt: skip
    assert all_of_them[1].startswith("--accumulate 4: 4 GiB + 40 GiB / 4 = 14 GiB")
    tight = TrainConfig(batch_size=8, remat=True, dtype="bfloat16")
    assert "larger slice" in advice(tight, memory, 16 * GIB, 8, (GIB, GIB))[0]


TINY = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "max_position_embeddings": 16, "model_type": "bert",
}  # fmt: skip


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "config.json"
    path.write_text(json.dumps(TINY))
    return {
        "model": str(path), "task": "squad", "method": "movement", "batch_size": 16,
        "max_length": 16, "mesh": "data=2,fsdp=4", "scan_layers": True,
    }  # fmt: skip


@pytest.fixture(scope="module")
def plan(options):
    return plan_step(options, "v5e:2x4", devices=jax.devices())


def test_a_plan_is_of_the_real_step_beside_the_dense_one(plan):
    step, dense = plan.step, plan.dense
    assert plan.fits and plan.mesh == {"data": 2, "fsdp": 4, "tensor": 1}
    # Scores and two moments of them, a quarter of each on a device, and little else.
    kernels = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    added = step.memory.arguments - dense.memory.arguments
    assert 3 * kernels <= added < 3 * kernels + 200
    # Three products of 2 FLOPs per weight and token at least, and attention beside them.
    products = 3 * 2 * kernels * 16 * 16 / 8
    assert products < dense.flops < 2 * products and dense.flops < step.flops
    # Every kernel is gathered; its gradient, made in a loop over layers, is summed over devices.
    assert dense.moves["all-gather"].count >= 12
    assert dense.moves["all-reduce"].sent >= 2 * 4 * kernels * 7 / 8
    assert all(moves.certain for moves in dense.moves.values())
    assert step.moves["all-reduce"].count > dense.moves["all-reduce"].count
    # The selection may stop early. Its scores and both moments are read and written.
    assert not step.moves["all-reduce"].certain
    assert step.hbm_bytes - dense.hbm_bytes >= 2 * added
    assert dense.hbm_bytes >= 2 * dense.memory.arguments


def test_a_plan_is_printed_and_written(plan):
    text = table(plan)
    assert "fits: " in text and "197 TFLOP/s" in text and "pruning adds" in text
    assert "all-gather*: sent" in text and "* at most" in text and "tokens/s" in text
    numbers = json.loads(json.dumps(to_json(plan)))
    assert numbers["fits"] and numbers["step"]["hbm_bytes"] == plan.step.hbm_bytes
    least = numbers["step"]["seconds"]["step"]
    assert numbers["step"]["tokens_per_second"] == pytest.approx(16 * 16 / least)
    refused = dataclasses.replace(
        plan,
        step=dataclasses.replace(plan.step, hbm_bytes=None, moves=None),
        remedies=("--remat: less",),
    )
    assert "does not fit" in table(refused) and "  --remat: less" in table(refused)
    assert "--full-effort" in text
    assert "--full-effort" not in table(dataclasses.replace(plan, full_effort=True))
    assert to_json(refused)["step"]["seconds"] is None


def test_mistakes_are_those_of_train(options):
    with pytest.raises(InputError, match="16 devices, but there are 4"):
        plan_step(options | {"mesh": "fsdp=16"}, "v5e:2x4", devices=jax.devices()[:4])
    with pytest.raises(InputError, match="--max-length 17 is more than the 16 positions"):
        plan_step(options | {"max_length": 17}, "v5e:2x4", devices=jax.devices())


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_a_step_is_compiled_for_a_slice_that_is_not_here(options):
    made = plan_step(options | {"mesh": "fsdp=4", "dtype": "bfloat16"}, "v5e:2x2")
    assert made.fits and made.step.moves and made.step.moves["all-gather"].sent > 0
