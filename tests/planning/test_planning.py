"""Plans: arithmetic, and a complete plan on fake devices."""

import argparse
import dataclasses
import importlib.util
import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

from mpjax import cli
from mpjax.cli.parsing.next_steps import say_next
from mpjax.config.recipes import recipe_config
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.planning.chips import CHIPS, GIB
from mpjax.planning.hlo import parse_hlo
from mpjax.planning.memory import Memory, advice, refused_memory
from mpjax.planning.plan import QUICK, plan_step
from mpjax.planning.roofline import roofline
from mpjax.planning.shape import read_shape
from mpjax.planning.show import format_plan, to_json
from mpjax.planning.topology import parse_topology, topology_devices
from mpjax.planning.traffic import hbm_bytes
from mpjax.training.memory.activations import Computed
from mpjax.training.memory.estimate import StepMemory


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v9:4x4", "unknown TPU 'v9'.*v5e:4x4"),
        ("v5e", "'' is no slice shape.*v5e:NxM"),
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
    with pytest.raises(InputError, match=r"config\.json line 1: not JSON"):
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
    # Of the temporaries, 4 GiB are masked weights; sums of gradients come to them.
    expected = StepMemory(
        GIB, GIB, 2 * GIB, 4 * GIB, 36 * GIB, 6 * GIB, copies=0, summed=2 * GIB,
        computed=Computed(8, 128),
    )  # fmt: skip
    all_of_them = advice(config, memory, expected, 16 * GIB, 8, (3 * GIB, GIB))
    assert [line.split()[0] for line in all_of_them] == [
        "--remat:", "--accumulate", "--dtype", "--mesh",
    ]  # fmt: skip
    # 8 rows of a device go into 1, 2, 4 or 8 parts.
    assert all_of_them[1].startswith("--accumulate 8: 10 GiB + 36 GiB / 8 = 14.5 GiB")
    half = dataclasses.replace(config, accumulate=2)  # has the sums already
    copies = dataclasses.replace(expected, copies=2 * GIB)
    said = advice(half, memory, copies, 20 * GIB, 8, (GIB, GIB))[1]
    assert said.startswith("--accumulate 8: 10 GiB + 68 GiB / 8 = 18.5 GiB")
    tight = TrainConfig(batch_size=8, remat=True, dtype="bfloat16")
    assert "larger slice" in advice(tight, memory, expected, 16 * GIB, 8, (GIB, GIB))[0]
    late = dataclasses.replace(expected, gradients=13 * GIB)  # more than is left
    assert "--accumulate" not in str(advice(config, memory, late, 16 * GIB, 8, (GIB, GIB)))


def test_what_follows_a_plan_depends_on_whether_it_fits(caplog):
    for fits in (True, False):
        caplog.clear()
        say_next(argparse.Namespace(command="plan", fits=fits))
        assert ("mpjax train with the same options" in caplog.text) == fits


@pytest.mark.slow
def test_fsdp_helps_where_it_divides_the_rows(options, monkeypatch):
    no_room = dataclasses.replace(CHIPS["v5e"], free_bytes=0)
    monkeypatch.setitem(CHIPS, "v5e", no_room)
    for rows, helps in ((16, True), (12, False)):
        changed = {"batch_size": rows, "mesh": "data=2,tensor=4", "scan_layers": False}
        config = TrainConfig(**(options | changed))
        made = plan_step(config, "v5e:2x4", devices=jax.devices())
        assert not made.fits and ("--mesh fsdp" in str(made.remedies)) == helps


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
    return plan_step(TrainConfig(**options), "v5e:2x4", devices=jax.devices())


@pytest.mark.slow
def test_a_plan_is_of_the_real_step_beside_the_dense_one(plan):
    step, dense = plan.step, plan.dense
    assert plan.fits and plan.mesh == {"data": 2, "fsdp": 4, "tensor": 1}
    # Scores and both moments, an eighth of each on a device, and little else.
    kernels = 2 * (4 * 32 * 32 + 2 * 32 * 64)
    added = step.memory.arguments - dense.memory.arguments
    assert 3 * kernels / 2 <= added < 3 * kernels / 2 + 200
    # Three products of 2 FLOPs per weight and token at least, and attention beside them.
    products = 3 * 2 * kernels * 16 * 16 / 8
    assert products < dense.flops < 2 * products and dense.flops < step.flops
    # Every kernel is gathered; its gradient, made in a loop over layers, is summed over devices.
    assert dense.collectives["all-gather"].count >= 12
    assert dense.collectives["all-reduce"].sent >= 2 * 4 * kernels * 7 / 8
    assert all(kind.certain for kind in dense.collectives.values())
    assert step.collectives["all-reduce"].count > dense.collectives["all-reduce"].count
    # The selection may stop early. Its scores and both moments are read and written.
    assert not step.collectives["all-reduce"].certain
    assert step.hbm_bytes - dense.hbm_bytes >= 2 * added
    assert dense.hbm_bytes >= 2 * dense.memory.arguments


@pytest.mark.slow
def test_a_plan_is_printed_and_written(plan):
    text = format_plan(plan)
    assert "fits: " in text and "197 TFLOP/s" in text and "pruning adds" in text
    assert "all-gather*: sent" in text and "* upper bound" in text and "tokens/s" in text
    numbers = json.loads(json.dumps(to_json(plan)))
    assert numbers["fits"] and numbers["step"]["hbm_bytes"] == plan.step.hbm_bytes
    least = numbers["step"]["seconds"]["step"]
    assert numbers["step"]["tokens_per_second"] == pytest.approx(16 * 16 / least)
    refused = dataclasses.replace(
        plan,
        step=dataclasses.replace(plan.step, hbm_bytes=None, collectives=None),
        remedies=("--remat: less",),
    )
    assert "does not fit" in format_plan(refused) and "  --remat: less" in format_plan(refused)
    assert "--full-effort" in text
    assert "--full-effort" not in format_plan(dataclasses.replace(plan, full_effort=True))
    assert to_json(refused)["step"]["seconds"] is None


@pytest.mark.parametrize(
    "given, planned",
    [
        ({"density": 0.1}, recipe_config("sensitivity", density=0.1)),
        ({"density": 0.1, "recipe": "gmp"}, recipe_config("gmp", density=0.1)),
        ({"density": 0.1, "method": "l0"}, TrainConfig(density=0.1, method="l0")),
        ({}, TrainConfig()),
    ],
    ids=["density", "recipe", "method", "nothing"],
)
def test_the_command_plans_the_recipe_that_train_would_follow(given, planned, monkeypatch):
    found = []

    def stop(config, topology, full_effort):
        found.append((config, topology, full_effort))
        raise InputError("enough")

    monkeypatch.setattr("mpjax.planning.plan.plan_step", stop)
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    assert cli.main(["plan", "--topology", "v5e:4x4", "--model", "m", *words]) == 2
    model = dataclasses.replace(planned, model="m")
    assert found == [(model, "v5e:4x4", False)]


def test_mistakes_are_refused_as_by_train(options):
    with pytest.raises(InputError, match="16 devices, but there are 4"):
        plan_step(
            TrainConfig(**options | {"mesh": "fsdp=16"}), "v5e:2x4", devices=jax.devices()[:4]
        )
    with pytest.raises(InputError, match="--max-length 17 is more than the 16 positions"):
        plan_step(TrainConfig(**options | {"max_length": 17}), "v5e:2x4", devices=jax.devices())


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_a_step_is_compiled_for_a_slice_that_is_not_here(options):
    made = plan_step(TrainConfig(**options | {"mesh": "fsdp=4", "dtype": "bfloat16"}), "v5e:2x2")
    assert made.fits and made.step.collectives and made.step.collectives["all-gather"].sent > 0


def test_the_quick_compilation_is_accepted_by_the_installed_jax():
    lowered: Any = jax.jit(lambda x: jnp.tanh(x @ x)).lower(jnp.ones((8, 8)))
    assert lowered.compile(compiler_options=QUICK)(jnp.zeros((8, 8))).sum() == 0


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_the_quick_compilation_makes_another_program_for_tpus():
    # Options that do nothing on TPUs, such as xla_backend_optimization_level, would pass the test
    # above and leave a full compilation.
    sharding = SingleDeviceSharding(topology_devices("v5e:2x2")[0])
    x = jax.ShapeDtypeStruct((512, 512), jnp.float32, sharding=sharding)
    lowered: Any = jax.jit(lambda x: jax.nn.softmax(jnp.tanh(x @ x)) @ x).lower(x)
    quick, full = (
        hbm_bytes(parse_hlo(lowered.compile(compiler_options=options).as_text()))
        for options in (QUICK, None)
    )
    assert quick > full
