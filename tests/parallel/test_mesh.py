"""Meshes: the same numbers on all of them, and what travels between their devices."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.models import BertConfig, encoder, parse_structure
from mpjax.models.blocks import EncoderModule, FeedForward
from mpjax.optim.make import OptimizerConfig, make_optimizer
from mpjax.optim.transforms import pruning_state
from mpjax.parallel.mesh import choose_mesh
from mpjax.parallel.sharding import make_mesh, place_batch
from mpjax.pruning import ELEMENT, Pruning, flatten, make_rule
from mpjax.runs.checkpoints import Checkpoints
from mpjax.runs.journal import total_loss
from mpjax.training.losses import task_loss
from mpjax.training.state import create_in_shards, create_state
from mpjax.training.step import make_measure, make_train_step

CONFIG = BertConfig(
    vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=24, max_position_embeddings=16,
)  # fmt: skip
# Layers that differ, in sizes that an axis may not divide: one head of eight features, 21 units.
SHRUNK = dataclasses.replace(
    CONFIG, num_hidden_layers=2, pruned_heads=((), (1,)), ffn_per_layer=(24, 21)
)
HYBRID = parse_structure("attention=block:2x2,ffn=units", head_size=8)
MESHES = {
    "one": {},
    "data": {"data": 8},
    "fsdp": {"fsdp": 8},
    "all": {"data": 2, "fsdp": 2, "tensor": 2},
}
CUT = {"initial": 1.0, "final": 0.2}
RULES = {
    "magnitude": make_rule("magnitude", **CUT),
    "magnitude-global": make_rule("magnitude", scope="global", **CUT),
    "movement": make_rule("movement", **CUT),
    "movement-global": make_rule("movement", scope="global", published_cut=True, **CUT),
    "soft_movement": make_rule("soft_movement", final=0.5, floor=0.3),
    "l0": make_rule("l0", **CUT),
    "l0-global": make_rule("l0", scope="global", **CUT),
}
STEPS = 6
KERNELS = r"(.*/)?(attention|ffn)/.*/?kernel"


def mesh_of(name: str):
    shape = MESHES[name]
    return make_mesh(shape, jax.devices()[: math.prod(shape.values())])


def make_batch(step: int, rows: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    lengths = rng.integers(4, 13, size=rows)
    return {
        "input_ids": rng.integers(0, 53, size=(rows, 12)).astype(np.int32),
        "attention_mask": (np.arange(12)[None] < lengths[:, None]).astype(np.int32),
        "labels": rng.integers(0, 2, size=rows).astype(np.int32),
    }


class OneBlock(EncoderModule):
    """The least that has kernels of both layouts: words, one feed-forward block, a classifier."""

    @nn.compact
    def __call__(self, input_ids, attention_mask=None, deterministic=True):
        del attention_mask
        x = self.child(FeedForward, "ffn")(self.table(64, "word")(input_ids), deterministic)
        return self.dense(2, "classifier")(x.mean(axis=1))


def whole(config=CONFIG, dtype=jnp.float64):
    return encoder(config, "classification", dtype, jnp.promote_types(dtype, jnp.float32))


def pruning_by(rule, structure=ELEMENT):
    return None if rule is None else Pruning(rule, KERNELS, structure)


def build(module, rule, mesh, structure=ELEMENT, **options):
    ids = jnp.zeros((1, 4), jnp.int32)
    params = jax.jit(module.init)(jax.random.key(0), ids)["params"]
    settings = OptimizerConfig(
        learning_rate=1e-3, score_learning_rate=0.1, warmup_steps=1, final_lambda=20.0
    )
    pruning = pruning_by(rule, structure)
    tx = make_optimizer(settings, pruning, STEPS)
    state, shardings = create_in_shards(
        lambda params, scores: create_state(params, pruning, tx, seed=1, scores=scores),
        mesh, jax.device_get(params), None,
    )  # fmt: skip
    loss = task_loss("classification")
    step = make_train_step(module, pruning, tx, loss, shardings=shardings, **options)
    return state, shardings, step


def run(module, rule, where, structure=ELEMENT, **options):
    """Losses of a whole run on a mesh, and the masks after it, both from the mesh."""
    mesh = mesh_of(where)
    state, shardings, step = build(module, rule, mesh, structure, **options)
    losses, measure = [], make_measure(pruning_by(rule, structure))
    for t in range(STEPS):
        # One program at a time: two with collectives, on more devices than cores, can keep each
        # other waiting until XLA gives up and aborts the process.
        measures = jax.block_until_ready(measure(state))
        state, metrics = step(state, place_batch(make_batch(t), mesh))
        losses.append(float(total_loss(metrics | measures)))
    assert jax.tree.all(jax.tree.map(lambda x, s: x.sharding == s, state, shardings))
    if rule is None:
        return losses, {}

    @jax.jit
    def masks(state):
        now = pruning_state(state.opt_state)
        pruning = pruning_by(rule, structure)
        return pruning.prune(state.params, state.scores, now.threshold)[1]

    return losses, flatten(jax.device_get(masks(state)))


def check_all_meshes(module, rule, structure=ELEMENT, meshes=("data", "fsdp", "all")):
    losses, masks = run(module, rule, "one", structure)
    assert len(set(losses)) == STEPS
    assert rule is None or 0 < sum(map(np.count_nonzero, masks.values())) < sum(
        mask.size for mask in masks.values()
    )
    for where in meshes:
        others, found = run(module, rule, where, structure)
        np.testing.assert_allclose(others, losses, rtol=0, atol=1e-9, err_msg=where)
        for path, mask in masks.items():
            # Gates are numbers: which of them are open must agree to the bit.
            np.testing.assert_allclose(found[path], mask, rtol=0, atol=1e-9)
            np.testing.assert_array_equal(found[path] != 0, mask != 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_losses_and_masks_of_one_device(name, x64):
    check_all_meshes(OneBlock(CONFIG, jnp.float64, jnp.float64), RULES[name])


@pytest.mark.slow
def test_a_shrunk_encoder_with_scores_of_blocks_and_units_does_so_too(x64):
    check_all_meshes(whole(SHRUNK), RULES["movement"], HYBRID, ("fsdp", "all"))


@pytest.mark.slow
def test_a_run_in_microbatches_gives_the_losses_and_masks_of_the_whole_batch(x64):
    module = OneBlock(dataclasses.replace(CONFIG, hidden_dropout_prob=0.0), jnp.float64)
    losses, masks = run(module, RULES["movement"], "one")
    others, found = run(module, RULES["movement"], "all", accumulate=4)
    np.testing.assert_allclose(others, losses, rtol=0, atol=1e-9)
    jax.tree.map(np.testing.assert_array_equal, found, masks)


@pytest.mark.slow
def test_what_is_trained_stays_float32_and_chooses_so():
    mesh = mesh_of("all")
    state, _, step = build(OneBlock(CONFIG, jnp.bfloat16), RULES["movement"], mesh)
    # All scores are the same number in bfloat16.
    order = np.random.default_rng(0).permutation(16 * 24).reshape(16, 24)
    close = jnp.asarray(1 + order * 2.0**-20, jnp.float32)
    kernel = state.scores["ffn"]["in"]["kernel"]
    assert len(np.unique(close.astype(jnp.bfloat16))) == 1
    state.scores["ffn"]["in"]["kernel"] = jax.device_put(close, kernel.sharding)
    _, masks = pruning_by(RULES["movement"]).prune(state.params, state.scores, 0.2)
    chosen = order >= 16 * 24 - int(0.2 * 16 * 24)
    np.testing.assert_array_equal(masks["ffn"]["in"]["kernel"], chosen)
    state, metrics = step(state, place_batch(make_batch(0), mesh))
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert {x.dtype for x in floats} == {jnp.dtype("float32")} == {metrics["task_loss"].dtype}


MOVE = re.compile(
    r"= (.*?) (all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter)(?:-start)?\("
)


def travels(step, *args, folder):
    """(kind, dtype, entries, where) of every collective of the program that the partitioner makes.

    Read before the CPU compiler widens bfloat16, which it has no instructions for.
    """
    dumped = {"xla_dump_to": str(folder), "xla_dump_hlo_pass_re": "spmd-partitioning"}
    step.lower(*args).compile(compiler_options=dumped)
    [program] = folder.glob("*after_spmd-partitioning*")
    moves = []
    for move in filter(None, map(MOVE.search, program.read_text().splitlines())):
        arrays = re.findall(r"(\w+)\[([\d,]*)\]", move[1])  # several in a tuple
        entries = sum(math.prod(int(n) for n in dims.split(",") if n) for _, dims in arrays)
        where = re.search(r'op_name="([^"]*)"', move.string)
        moves.append((move[2], arrays[0][0], entries, where[1] if where else ""))
    return moves


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "where", "structure"),
    [
        ("movement", "all", ELEMENT),
        ("movement-global", "fsdp", ELEMENT),
        ("magnitude-global", "fsdp", ELEMENT),
        ("soft_movement", "all", ELEMENT),
        ("l0", "fsdp", ELEMENT),
        ("movement", "all", HYBRID),
    ],
    ids=["movement", "published global", "global", "soft_movement", "l0", "hybrid"],
)
def test_no_score_mask_or_key_leaves_its_device(name, where, structure, tmp_path):
    config = dataclasses.replace(CONFIG, hidden_size=128, intermediate_size=256)
    mesh = mesh_of(where)
    state, _, step = build(whole(config, jnp.bfloat16), RULES[name], mesh, structure)
    batch = place_batch(make_batch(0), mesh)
    moves = travels(step, state, batch, folder=tmp_path)
    shard = 128 * 128 // 8  # of the smallest kernel: what is not smaller may be one
    large = [(kind, dtype) for kind, dtype, size, _ in moves if size >= shard]
    # Over data, where the kernels are whole, marks of scores travel, as bytes.
    marks = {"pred"} if mesh.shape["data"] > 1 and structure == ELEMENT else set()
    assert {dtype for kind, dtype in large if kind != "all-reduce"} == {"bf16"} | marks
    assert sum(kind == "all-gather" for kind, _ in large) >= 6  # the kernels, masked
    # What is added up is gradients and activations, and the counts of a selection are few.
    assert all(dtype in ("bf16", "f32") for kind, dtype in large if kind == "all-reduce")
    searched = [(kind, size) for kind, _, size, place in moves if "while" in place]
    assert set(searched) == {("all-reduce", 1)}, searched
    measure = make_measure(pruning_by(RULES[name], structure))
    logged = travels(measure, state, folder=tmp_path / "log")
    assert max(size for _, _, size, _ in logged) < shard


@pytest.mark.parametrize("name", ["movement", "magnitude-global"])
def test_over_data_only_marks_are_gathered_and_gradients_added_up_once(name, tmp_path):
    module = OneBlock(dataclasses.replace(CONFIG, hidden_size=128, intermediate_size=256))
    mesh = mesh_of("data")
    state, _, step = build(module, RULES[name], mesh)
    moves = travels(step, state, place_batch(make_batch(0), mesh), folder=tmp_path)
    kernel = 128 * 256
    large = [(kind, dtype) for kind, dtype, size, _ in moves if size >= kernel // 8]
    assert large.count(("all-gather", "pred")) == 2
    assert {kind for kind, dtype in large if dtype == "f32"} == {"all-reduce"}
    assert sum(kind == "all-reduce" and size == kernel for kind, _, size, _ in moves) == 2
    assert {(k, size) for k, _, size, at in moves if "while" in at} == {("all-reduce", 1)}


def test_scores_and_their_moments_are_split_over_data_too():
    mesh = mesh_of("data")
    config = dataclasses.replace(CONFIG, hidden_size=128)
    state, _, _ = build(OneBlock(config, jnp.float32), RULES["movement"], mesh)
    split = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if leaf.shape == (128, 24):
            of_score = "scores" in jax.tree_util.keystr(path)
            split.setdefault(of_score, []).append(leaf.addressable_shards[0].data.shape)
    assert split == {True: [(16, 24)] * 3, False: [(128, 24)] * 3}


def test_state_is_split_as_its_parameters_and_odd_sizes_stay_whole():
    mesh = mesh_of("all")
    config = dataclasses.replace(CONFIG, intermediate_size=23)
    state, _, _ = build(whole(config, jnp.float32), RULES["movement"], mesh)
    split = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        keys = [str(k.key) for k in path if isinstance(k, jax.tree_util.DictKey)]
        split.setdefault("/".join(keys[-3:]), set()).add(tuple(leaf.sharding.spec))
    # Parameter and score, and both moments of Adam for each. 16 rows have no 16 for two shards.
    assert split["attention/query/kernel"] == {("fsdp", "tensor"), ("fsdp", ("tensor", "data"))}
    assert split["attention/output/kernel"] == {("tensor", "fsdp"), ("tensor", ("fsdp", "data"))}
    assert split["ffn/in/kernel"] == {("fsdp", None)}
    assert split["ffn/out/bias"] == {()}
    kernel = state.scores["bert"]["encoder"]["layer_0"]["attention"]["query"]["kernel"]
    assert {s.data.shape for s in kernel.addressable_shards} == {(8, 4)}


@pytest.mark.slow
def test_a_state_saved_on_eight_devices_continues_on_four_and_on_one(tmp_path, x64):
    module, rule = OneBlock(CONFIG, jnp.float64, jnp.float64), RULES["movement"]

    def advance(state, step, mesh, steps):
        losses = []
        for t in steps:
            state, metrics = step(state, place_batch(make_batch(t), mesh))
            losses.append(float(metrics["task_loss"]))
        return state, losses

    eight = mesh_of("all")
    state, _, step = build(module, rule, eight)
    state, _ = advance(state, step, eight, range(3))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, 3)
    _, expected = advance(state, step, eight, range(3, STEPS))
    for shape in ({"fsdp": 2, "tensor": 2}, {}):
        mesh = make_mesh(shape, jax.devices()[: math.prod(shape.values())])
        other, shardings, step = build(module, rule, mesh)
        with Checkpoints(tmp_path) as checkpoints:
            other = checkpoints.restore(other)
        assert jax.tree.all(jax.tree.map(lambda x, s: x.sharding == s, other, shardings))
        _, losses = advance(other, step, mesh, range(3, STEPS))
        np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-9)


BASE = {"model": "m", "task": "sst2", "output": "o", "method": "dense", "batch_size": 16}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "data=4,model=2"}, "'model' is no axis.*from data, fsdp, tensor"),
        ({"mesh": "8"}, "'8' is no axis.*data=4"),
        ({"mesh": "data=2,data=4"}, "data is there twice"),
        ({"mesh": "data=two"}, "the size of data is 'two'"),
        ({"mesh": "data=0"}, "the size of data is '0'"),
        ({"accumulate": 3}, "--batch-size 16 is no multiple of --accumulate 3"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_without_jax(options, message):
    with pytest.raises(InputError, match=message):
        resolve(TrainConfig(**BASE, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "data=4,fsdp=4"}, "16 devices, but there are 8; .* product is 8$"),
        ({"mesh": "data=4"}, "4 devices, but there are 8; .* or use --devices 4"),
        ({"mesh": "data=4", "devices": 2}, "but there are 2; .* --devices 4"),
        ({"mesh": "fsdp=8", "batch_size": 12}, "12 does not split into the 8 parts .* of 8 as"),
        ({"mesh": "fsdp=8", "accumulate": 4}, "--accumulate 4 does not split .* of 32 as"),
        ({"devices": 9}, "--devices is 9, but there are 8"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        choose_mesh(resolve(TrainConfig(**(BASE | options))))


def test_devices_are_as_many_as_divide_the_batch(caplog):
    def chosen(**options):
        return dict(choose_mesh(TrainConfig(**(BASE | options))).shape)

    assert chosen() == {"data": 8, "fsdp": 1, "tensor": 1} and not caplog.text
    assert chosen(devices=3)["data"] == 2 and "2 of 3 devices" in caplog.text
    assert chosen(batch_size=12)["data"] == 6
    assert chosen(accumulate=4)["data"] == 4 and "--accumulate 4" in caplog.text
    assert chosen(mesh="tensor=2,fsdp=4") == {"data": 1, "fsdp": 4, "tensor": 2}
