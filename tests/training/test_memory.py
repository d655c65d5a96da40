"""Memory of a step: counted by hand, beside what the compiler allots, said before it compiles."""

import dataclasses
import math
import re
from types import SimpleNamespace

import jax
import pytest
import tiny

from mpjax import cli, models
from mpjax.config.freeze import frozen_groups
from mpjax.config.train import TrainConfig
from mpjax.models import BertConfig
from mpjax.parallel import room
from mpjax.parallel.mesh import batch_parts
from mpjax.parallel.sharding import make_mesh, shardings
from mpjax.planning.memory import read_memory
from mpjax.planning.plan import plan_config
from mpjax.planning.program import abstract_step
from mpjax.training.memory import announce
from mpjax.training.memory.activations import Computed, activation_bytes
from mpjax.training.memory.announce import computed_on, host_bytes, shortage
from mpjax.training.memory.estimate import StepMemory, Trained, step_memory

SHAPE = BertConfig(
    vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=64,
)  # fmt: skip
OPTIONS = {
    "model": "-", "task": "sst2", "method": "movement", "density": 0.1, "batch_size": 32,
    "max_length": 64,
}  # fmt: skip
ONE = make_mesh({"data": 1}, jax.devices()[:1])
KERNELS = 2 * (4 * 32 * 32 + 2 * 32 * 64)
EMBEDDINGS = 32 * (100 + 64 + 2) + 2 * 32
HEAD = 32 * 32 + 32 + 2 * 32 + 2
BIASES = 2 * (4 * 32 + 64 + 32 + 4 * 32)


def memory_of(options, mesh, shape=SHAPE, frozen=models.FROZEN):
    config = plan_config(TrainConfig(**options))
    step = abstract_step(config, shape, mesh)
    rows = config.batch_size // config.accumulate // batch_parts(mesh)
    module = models.encoder(shape, "classification").clone(remat=config.remat)
    computed = computed_on(module, mesh, (rows, config.max_length), config.accumulate)
    trained = Trained(config.method != "dense", frozen)
    places = shardings(step.state, mesh)
    return step, step_memory(step.state, places, shape, "classification", trained, computed)


def test_the_parts_are_those_counted_by_hand():
    _, memory = memory_of(OPTIONS, ONE)
    assert memory.parameters == 4 * (KERNELS + EMBEDDINGS + HEAD + BIASES)
    assert memory.scores == 4 * KERNELS and memory.masked == 5 * KERNELS
    trained = KERNELS + HEAD + BIASES  # embeddings are frozen
    assert memory.gradients == 4 * (trained + KERNELS) + 2 * KERNELS and memory.copies == 0
    moments = 2 * 4 * (trained + KERNELS)
    assert moments <= memory.optimizer < moments + 100, "two moments and a few counters"
    tokens = 32 * 64
    layer = tokens * (4 * 32 + 4 * 32 + 4 * 64 + 4 * 2 * 64)
    assert memory.activations == 4 * (2 * layer + tokens * 3 * 32)
    state = memory.parameters + memory.scores + memory.optimizer
    assert memory.total == state + memory.masked + memory.activations
    one_row = memory_of(OPTIONS | {"batch_size": 1, "max_length": 4}, ONE)[1]
    assert one_row.total == state + memory.gradients, "the larger of the two"
    parts = memory_of(OPTIONS | {"accumulate": 4}, ONE)[1]
    assert parts.copies == 4 * trained and parts.activations == memory.activations / 4
    assert memory.summed == parts.copies


def test_microbatches_sum_gradients_of_frozen_weights_which_scores_need():
    frozen = "|".join(models.GROUPS[name] for name in frozen_groups(TrainConfig(freeze="weights")))
    memory = memory_of(OPTIONS | {"accumulate": 4}, ONE, frozen=frozen)[1]
    assert memory.gradients == 4 * (HEAD + KERNELS) + 2 * KERNELS
    assert memory.copies == 4 * (HEAD + KERNELS)
    no_scores = memory_of(OPTIONS | {"method": "magnitude", "accumulate": 4}, ONE, frozen=frozen)[1]
    assert no_scores.copies == 4 * HEAD


def test_a_mesh_divides_what_it_splits():
    one = memory_of(OPTIONS, ONE)[1]
    data = memory_of(OPTIONS, make_mesh({"data": 8}))[1]
    assert data.parameters == one.parameters and data.scores == one.scores / 8
    assert data.activations * 8 == pytest.approx(one.activations, rel=0.01)
    mesh = make_mesh({"fsdp": 4, "tensor": 2})
    step, fsdp = memory_of(OPTIONS, mesh)
    assert (fsdp.scores, fsdp.masked) == (one.scores / 8, KERNELS / 8)
    assert fsdp.gathered == 4 * KERNELS / 2 and one.gathered == 0, "tensor stays split"
    half = step_memory(
        step.state, shardings(step.state, mesh), SHAPE, "classification",
        Trained(True, models.FROZEN), Computed(8, 64, width=2, tensor=2),
    )  # fmt: skip
    assert 2 * half.gathered == fsdp.gathered
    assert fsdp.sentence().endswith("in place of the last three)")  # masks, gathered, activations
    summing = dataclasses.replace(fsdp, copies=1)
    assert summing.sentence().endswith("in place of the last four)")
    assert fsdp.total == fsdp.state + fsdp.masked + fsdp.gathered + fsdp.activations
    whole = 4 * (EMBEDDINGS + BIASES)
    assert one.parameters / 8 < fsdp.parameters < one.parameters / 8 + whole


def test_rows_microbatches_and_dtype_scale_the_activations():
    full = Computed(rows=32, length=64)
    size = activation_bytes(SHAPE, "qa", full)
    assert activation_bytes(SHAPE, "qa", dataclasses.replace(full, rows=8)) * 4 == size
    assert activation_bytes(SHAPE, "qa", dataclasses.replace(full, remat=True)) < size / 1.5
    assert activation_bytes(SHAPE, "qa", dataclasses.replace(full, length=128)) > 2 * size
    half = activation_bytes(SHAPE, "qa", dataclasses.replace(full, width=2))
    assert size / 2 <= half < size


def test_kernels_that_fsdp_does_not_divide_stay_whole():
    one = memory_of(OPTIONS, ONE)[1]
    whole = memory_of(OPTIONS | {"batch_size": 30}, make_mesh({"fsdp": 5}, jax.devices()[:5]))[1]
    assert (whole.masked, whole.gathered) == (one.masked, 0)


def test_the_host_holds_what_its_devices_take():
    memory = memory_of(OPTIONS, ONE)[1]
    assert host_bytes(memory, jax.devices()[:2], 3) == 6 * (memory.total - memory.state) > 0
    assert host_bytes(memory, [SimpleNamespace(platform="gpu")]) == 0


@pytest.mark.parametrize("split", [{"data": 1}, {"fsdp": 4}])
def test_the_sum_is_near_what_the_compiler_allots(split):
    # One layer and no search for the cut, which take most of the time of compiling.
    one_layer = dataclasses.replace(
        SHAPE, num_hidden_layers=1, hidden_size=128, intermediate_size=512
    )
    mesh = make_mesh(split, jax.devices()[: math.prod(split.values())])
    no_cut = {"method": "soft_movement", "density": None}
    step, memory = memory_of(OPTIONS | no_cut | {"batch_size": 8}, mesh, one_layer)
    found = read_memory(step.lower().compile()).total
    assert 1 / 1.1 < found / memory.total < 1.1


def test_a_shortage_names_the_options_that_help():
    state = {"parameters": 10**9, "scores": 0, "optimizer": 2 * 10**9}
    memory = StepMemory(
        **state, masked=0, activations=8 * 10**9, gradients=10**9, copies=0,
        computed=Computed(32, 128), summed=10**9,
    )  # fmt: skip
    said = shortage(memory, 8 * 10**9, parts=4)
    # 5 GB are left: 20 of 32 rows on each of 4 devices; halved, and sums of gradients.
    assert "about 11 GB on each device" in said and "8 GB are free" in said
    assert "--accumulate 2, which keeps the batch, or --batch-size 80 at most" in said
    assert "--accumulate 4," in shortage(memory, int(6.5e9), parts=4)
    summing = dataclasses.replace(memory, copies=10**9, summed=10**9)  # copies of stacked layers
    assert "--accumulate 4," in shortage(summing, int(8.5e9), parts=4), "sums are added to stacks"
    assert said.endswith("at most, or more devices in --mesh")
    assert shortage(memory, 8 * 10**9, 4, own=False).endswith("--batch-size 80 at most")
    begun = shortage(memory, 8 * 10**9, parts=4, begun=True)
    assert "memory: more devices in --mesh, or another --output with --accumulate 2" in begun
    tight = shortage(memory, int(3.5e9), parts=1)
    assert "with one row at a time it needs 4 GB" in tight and "--mesh fsdp=N" in tight
    host = shortage(memory, int(3.1e9), parts=1, own=False)
    assert "take a smaller model or a machine with more memory" in host and "--mesh" not in host


def test_a_run_says_it_before_anything_is_compiled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(announce, "free_bytes", lambda devices: 1000)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    made, say = [], announce.announce_memory
    monkeypatch.setattr(
        "mpjax.training.train.announce_memory", lambda *args: made.append(say(*args))
    )
    monkeypatch.setattr("mpjax.training.train.run_programs", stop)
    assert cli.main(tiny.command(tmp_path)) == 130
    said = capsys.readouterr().err
    found = re.search(r"memory: ([\d.]+) MB \(parameters ([\d.]+), scores ", said)
    assert found is not None
    (memory,) = made
    assert float(found[1]) == pytest.approx(memory.total / 1e6, rel=0.01)
    assert float(found[2]) == pytest.approx(memory.parameters / 1e6, rel=0.01)
    assert (memory.computed.rows, memory.computed.length) == (8, 16)
    assert "0.001 MB are free" in said and "a machine with more memory" in said


def test_free_memory_is_the_least_of_the_devices_or_a_share_of_the_host(monkeypatch):
    class Device:
        def __init__(self, stats):
            self.memory_stats = lambda: stats

    two = [Device({"bytes_limit": 9, "bytes_in_use": used}) for used in (1, 3)]
    assert room.free_bytes(two) == 6
    monkeypatch.setattr("mpjax.hostmemory.available", lambda: 8)
    assert room.free_bytes([Device(None), Device(None)]) == 4
    monkeypatch.setattr("mpjax.hostmemory.available", lambda: None)
    assert room.free_bytes([Device({})]) is None
