"""Explicit meshes, the default of `jax.make_mesh`: a user's own step gives the masks of one device.

Everything that a user's step calls is compared to the bit with the same call on whole arrays: every
rule in every scope, structures, the optimiser chain, and gradients through it.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mpjax.optim.make import OptimizerConfig, make_optimizer
from mpjax.optim.transforms import pruning_state
from mpjax.pruning import (
    ELEMENT,
    Block,
    NofM,
    Part,
    Pruning,
    Shared,
    Structure,
    flatten,
    make_rule,
    mask_density,
    top_k_cuts,
    top_k_masks,
)

RULES = {
    "magnitude local": make_rule("magnitude", final=0.3),
    "magnitude global": make_rule("magnitude", final=0.3, scope="global"),
    "magnitude published": make_rule("magnitude", final=0.3, scope="global", published_cut=True),
    "movement local": make_rule("movement", final=0.3),
    "movement global": make_rule("movement", final=0.3, scope="global"),
    "movement type": make_rule("movement", final=0.3, scope="type"),
    "movement published": make_rule("movement", final=0.3, scope="global", published_cut=True),
    "soft_movement": make_rule("soft_movement", final=0.5, floor=0.3),
    "soft_movement density": make_rule("soft_movement", density=0.3),
    "l0 open": make_rule("l0"),
    "l0 local": make_rule("l0", final=0.3),
    "l0 global": make_rule("l0", final=0.3, scope="global"),
    "l0 steered": make_rule("l0", final=0.3, scope="global", steered=True),
}
UNITS = Part(".*ffn/.*", Shared("units", (("in/kernel", 1), ("out/kernel", 0))))
STRUCTURES = {
    "element": ELEMENT,
    "2:4": Structure((Part(".*(ffn|stack)/.*", NofM(2, 4)),)),
    "blocks": Structure((Part(".*", Block(4, 2)),)),
    "rows and units": Structure((UNITS, Part(".*", Block(1, None)))),
}
CASES = [(rule, "element") for rule in RULES] + [
    (rule, structure)
    for structure in STRUCTURES
    if structure != "element"
    for rule in ("magnitude local", "movement global", "soft_movement density", "l0 local")
]
FAST = {("movement local", "element"), ("magnitude global", "element"), ("l0 global", "element")}
cases = pytest.mark.parametrize(
    ("rule", "structure"),
    [pytest.param(*c, marks=() if c in FAST else pytest.mark.slow, id=", ".join(c)) for c in CASES],
)
SPECS = {
    "l0/attention/kernel": PartitionSpec("rows", "columns"),
    "l0/ffn/in/kernel": PartitionSpec(None, ("rows", "columns")),
    "l0/ffn/out/kernel": PartitionSpec("columns", None),
    "l1/attention/kernel": PartitionSpec("rows"),
    "stack/kernel": PartitionSpec(None, "rows", "columns"),
}
SHAPES = {
    "l0/attention/kernel": (16, 24),
    "l0/ffn/in/kernel": (16, 32),
    "l0/ffn/out/kernel": (32, 16),
    "l1/attention/kernel": (16, 24),
    "stack/kernel": (3, 16, 8),
}


def explicit_mesh():
    return jax.make_mesh((4, 2), ("rows", "columns"), axis_types=(AxisType.Explicit,) * 2)


def made(rule, structure="element"):
    axes = {"stack/.*": ("stack", "input", "output")}
    return Pruning(RULES[rule], ".*kernel", STRUCTURES[structure], axes=axes)


def nested(flat):
    tree = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


def parameters(seed=0):
    rng = np.random.default_rng(seed)
    flat = {path: rng.normal(size=shape).astype(np.float32) for path, shape in SHAPES.items()}
    return nested(flat | {"l0/bias": np.ones(24, np.float32)})


def place(tree, mesh):
    """Splits kernels and what has their paths and shapes; other arrays are whole everywhere."""

    def put(path, leaf):
        names = "/".join(str(k.key) for k in path if isinstance(k, jax.tree_util.DictKey))
        end = next((p for p in SHAPES if names.endswith(p)), None)
        whole = end is None or SHAPES[end] != np.shape(leaf)
        spec = PartitionSpec() if whole else SPECS[end]
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(put, tree)


def some_scores(pruning, params, ties=False):
    rng = np.random.default_rng(1)

    def draw(s):
        drawn = rng.integers(-2, 3, s.shape) if ties else rng.normal(size=s.shape)
        return drawn.astype(np.float32)

    return jax.tree.map(draw, jax.device_get(pruning.init_scores(params)))


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), jax.device_get(expected))


def outputs(pruning, params, scores, threshold):
    """Whatever a user's step may ask a `Pruning` for; all sums are of integers."""
    kept = pruning.keep(params, scores, threshold)
    pruned, masks = pruning.prune(params, scores, threshold)
    held, _ = pruning.prune(params, scores, threshold, kept=kept)
    final = pruning.finalize({"params": params, "scores": scores}, threshold)
    found = {"pruned": pruned, "masks": masks, "kept": kept, "held": held, "final": final}
    found["density"] = pruning.density(masks)
    if pruning.rule.can_be_steered:
        found["above"] = pruning.density_above(params, scores, threshold)
    return found


@cases
def test_masks_are_those_of_one_device_to_the_bit(rule, structure):
    mesh = explicit_mesh()
    pruning = made(rule, structure)
    params = parameters()
    ask = jax.jit(lambda *args: outputs(pruning, *args))
    for ties in (False, True):
        scores = some_scores(pruning, params, ties)
        expected = ask(params, scores, 0.3)
        with jax.set_mesh(mesh):
            found = ask(place(params, mesh), place(scores, mesh), 0.3)
        same(found, expected)
        kept = flatten(expected["kept"])
        assert 0 < sum(map(np.count_nonzero, kept.values())) < sum(k.size for k in kept.values())
        for name in ("pruned", "masks", "held", "final"):
            for path, spec in SPECS.items():
                leaf, wanted = flatten(found[name])[path], NamedSharding(mesh, spec)
                assert leaf.sharding.is_equivalent_to(wanted, leaf.ndim), (name, path)


def make_step(pruning, tx, noise=None):
    """A step as a user writes it: masked weights, their loss, the optimiser."""

    def loss(variables, target, threshold):
        pruned, _ = pruning.prune(variables["params"], variables["scores"], threshold, noise)
        errors = jax.tree.map(lambda w, t: jnp.sum((jnp.tanh(w) - t) ** 2), pruned, target)
        return sum(jax.tree.leaves(errors))

    def step(variables, opt_state, target):
        threshold = pruning_state(opt_state).threshold
        gradient = jax.grad(loss)(variables, target, threshold)
        updates, opt_state = tx.update(gradient, opt_state, variables)
        return optax.apply_updates(variables, updates), opt_state, gradient

    return step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "structure"),
    [
        ("movement global", "element"),
        ("soft_movement", "element"),
        ("soft_movement density", "element"),
        ("l0 steered", "2:4"),
        ("magnitude local", "blocks"),
        ("movement local", "rows and units"),
    ],
)
def test_gradients_and_the_optimiser_chain_are_those_of_one_device(rule, structure):
    mesh = explicit_mesh()
    pruning = made(rule, structure)
    config = OptimizerConfig(
        learning_rate=1e-2, score_learning_rate=0.1, final_lambda=2.0, prune_every=2, warmup_steps=1
    )
    tx = make_optimizer(config, pruning, 4)
    params, target = parameters(), parameters(2)
    variables = {"params": params, "scores": some_scores(pruning, params)}
    init, step = jax.jit(tx.init), jax.jit(make_step(pruning, tx))
    with jax.set_mesh(mesh):
        whole, sharded = variables, place(variables, mesh)
        state, own = init(whole), init(sharded)
        for _ in range(3):
            whole, state, slope = step(whole, state, target)
            sharded, own, own_slope = step(sharded, own, place(target, mesh))
            # Sums of squares and means add up in another order: equal to rounding.
            for found, expected in ((own_slope, slope), (sharded, whole)):
                jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
                    jax.device_get(found),
                    jax.device_get(expected),
                )
    for name, tree in (("variables", sharded), ("moments", own)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            keys = "/".join(str(k.key) for k in path if isinstance(k, jax.tree_util.DictKey))
            spec = next(
                (SPECS[p] for p in SPECS if keys.endswith(p) and leaf.shape == SHAPES[p]), None
            )
            if spec is not None:
                assert leaf.sharding.is_equivalent_to(NamedSharding(mesh, spec), leaf.ndim), (
                    name,
                    keys,
                )


def test_what_a_step_draws_and_starts_from_is_split_as_its_kernels():
    mesh = explicit_mesh()
    pruning = made("l0 local", "rows and units")
    fine = made("l0 local")

    @jax.jit
    def start(params, key):
        scores = fine.init_scores(params, key, init="uniform", scale=1.0)
        noise = fine.sample_noise(key, scores)
        return scores, noise, pruning.init_scores(params), fine.prune(params, scores, 0.3, noise)

    key, params = jax.random.key(0), parameters()
    with jax.set_mesh(mesh):
        found = start(place(params, mesh), key)
    expected = start(params, key)
    same(found[2], expected[2])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6),
        jax.device_get(found),
        jax.device_get(expected),
    )
    for tree in found[:2]:
        for path, leaf in flatten(tree).items():
            wanted = NamedSharding(mesh, SPECS[path])
            assert leaf.sharding.is_equivalent_to(wanted, leaf.ndim), path


def test_a_deterministic_rule_draws_nothing_on_any_mesh():
    pruning = made("movement local")
    params = place(parameters(), explicit_mesh())
    assert pruning.sample_noise(jax.random.key(0), pruning.init_scores(params)) is None


@pytest.mark.parametrize("joint", [False, True])
def test_selections_take_arrays_of_an_explicit_mesh_one_by_one(joint):
    mesh = explicit_mesh()
    arrays = list(flatten(parameters()["l0"]["ffn"]).values())
    split = list(flatten(place(parameters(), mesh)["l0"]["ffn"]).values())
    counts = [100] if joint else [100, 7]
    same(top_k_masks(split, counts, joint=joint), top_k_masks(arrays, counts, joint=joint))
    same(top_k_cuts(split, counts, joint=joint), top_k_cuts(arrays, counts, joint=joint))
    same(mask_density({"a": split[0]}), mask_density({"a": arrays[0]}))


@pytest.mark.parametrize("kind", [None, AxisType.Auto])
def test_nothing_is_added_to_programs_without_explicit_axes(kind):
    pruning, params = made("movement local"), parameters()
    if kind is not None:
        mesh = jax.make_mesh((4, 2), ("rows", "columns"), axis_types=(kind,) * 2)
        params = place(params, mesh)
    scores = pruning.init_scores(params)
    program = str(jax.make_jaxpr(lambda *args: outputs(pruning, *args))(params, scores, 0.3))
    assert "reshard" not in program and "sharding_constraint" not in program


COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-to-all|collective-permute|all-reduce)(?:-start)?\("
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", ["movement local", "movement global", "soft_movement", "l0 global"]
)
def test_no_score_or_mask_is_gathered(rule):
    mesh, pruning = explicit_mesh(), made(rule)

    # Much larger than the sample of 256 entries of each matrix that a search begins with.
    def large(path, leaf):
        names = "/".join(k.key for k in path)
        sharding = NamedSharding(mesh, SPECS.get(names, PartitionSpec()))
        shape = (*leaf.shape[:-2], *(16 * n for n in leaf.shape[-2:]))
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

    params = jax.tree_util.tree_map_with_path(large, parameters())
    scores = jax.tree_util.tree_map_with_path(large, pruning.init_scores(parameters()))

    def pruned(params, scores, threshold):
        return pruning.prune(params, scores, threshold)

    with jax.set_mesh(mesh):
        program = jax.jit(pruned).lower(params, scores, 0.3).compile().as_text()
    moves = [move for move in map(COLLECTIVE.search, program.splitlines()) if move]
    assert moves  # counts are added up over the devices
    for move in moves:
        sizes = [
            math.prod(int(n) for n in dims.split(",") if n)
            for dims in re.findall(r"\[([\d,]*)\]", move[1])
        ]
        assert max(sizes) <= 7 * 256, move[0]  # the smallest shard has 12,288
