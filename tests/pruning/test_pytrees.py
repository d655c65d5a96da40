"""Any pytree of parameters keeps its structure, and is pruned as a nested dict is."""

import functools
import itertools
import re
from collections import OrderedDict
from typing import Any, NamedTuple

import equinox as eqx
import flax.struct
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState

from mpjax.optim import OptimizerConfig, make_optimizer, pruning_state
from mpjax.optim.transforms import hold_zeros
from mpjax.pruning import (
    Block,
    NofM,
    Part,
    Pruning,
    Shared,
    Structure,
    flatten,
    make_rule,
    merge,
    select,
)

RNG = np.random.default_rng(0)
IN, HIDDEN, OUT = 8, 12, 4
FIRST = {"w": RNG.normal(size=(IN, HIDDEN)), "b": RNG.normal(size=HIDDEN)}
SECOND = {"w": RNG.normal(size=(HIDDEN, OUT)), "b": RNG.normal(size=OUT)}
FIRST, SECOND = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (FIRST, SECOND))
BESIDE = jnp.arange(3.0)  # belongs to neither layer


class Layer(NamedTuple):
    w: Any
    b: Any


@flax.struct.dataclass
class Net:
    first: Any
    second: Any
    beside: Any
    name: str = flax.struct.field(pytree_node=False, default="net")


class Mlp(eqx.Module):
    first: eqx.nn.Linear
    second: eqx.nn.Linear
    beside: jax.Array
    activation: Any = jax.nn.relu


class NnxMlp(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(IN, HIDDEN, rngs=rngs)
        self.second = nnx.Linear(HIDDEN, OUT, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.beside = nnx.BatchStat(BESIDE)
        for own, given in ((self.first, FIRST), (self.second, SECOND)):
            own.kernel.set_value(given["w"])
            own.bias.set_value(given["b"])


def equinox_mlp() -> Mlp:
    key = jax.random.key(0)
    net = Mlp(eqx.nn.Linear(IN, HIDDEN, key=key), eqx.nn.Linear(HIDDEN, OUT, key=key), BESIDE)
    where = lambda n: (n.first.weight, n.first.bias, n.second.weight, n.second.bias)  # noqa: E731
    return eqx.tree_at(where, net, (FIRST["w"].T, FIRST["b"], SECOND["w"].T, SECOND["b"]))


def boxed(layer, axes):
    return {"w": nn.Partitioned(layer["w"], names=axes), "b": layer["b"]}


# Kind: tree, pattern of the kernels, whether they are (outputs, inputs).
KINDS = {
    "dict": ({"first": FIRST, "second": SECOND, "x": BESIDE}, ".*/w", False),
    "FrozenDict": (freeze({"first": FIRST, "second": SECOND, "x": BESIDE}), ".*/w", False),
    "haiku": (
        {"mlp/~/linear_0": FIRST, "mlp/~/linear_1": SECOND, "x": {"y": BESIDE}}, ".*/w", False,
    ),
    "clash": ({"a": {"w": FIRST["w"], "b": BESIDE}, "a/w": SECOND["w"]}, ".*w", False),
    "list": ([FIRST, SECOND, BESIDE], r"\d/w", False),
    "tuple": (((FIRST["w"], FIRST["b"]), (SECOND["w"], SECOND["b"]), BESIDE), r"\d/0", False),
    "NamedTuple": ([Layer(**FIRST), Layer(**SECOND), BESIDE], ".*/w", False),
    "dataclass": (Net(FIRST, SECOND, BESIDE), ".*/w", False),
    "integer keys": ({0: FIRST, 1: SECOND, 10: BESIDE}, ".*/w", False),
    "empty": (
        {"a": {}, "first": FIRST, "none": None, "second": SECOND, "z": [(), {}]}, ".*/w", False,
    ),
    "boxes": (
        {"first": boxed(FIRST, (None, "x")), "second": boxed(SECOND, ("x", None)), "x": BESIDE},
        ".*/w", False,
    ),
    "equinox": (equinox_mlp(), ".*weight", True),
    "equinox arrays": (eqx.partition(equinox_mlp(), eqx.is_array)[0], ".*weight", True),
    "nnx.State": (nnx.split(NnxMlp(), nnx.Param, ...)[1], ".*kernel", False),
    "nnx": (NnxMlp(), ".*kernel", False),
}  # fmt: skip
UNITS = Shared("units", ((r"(first|0|a|.*linear_0|\[0\])/(w|weight|kernel|0)", 1), (r".*", 0)))
STRUCTURES = {
    "element": Structure(),
    "block": Structure((Part(".*", Block(4, 2)),)),
    "rows": Structure((Part(".*", Block(1, None)),)),
    "2:4": Structure((Part(".*", NofM(2, 4)),)),
}
RULES = {
    "magnitude": make_rule("magnitude", final=0.5),
    "magnitude global": make_rule("magnitude", final=0.5, scope="global"),
    "movement": make_rule("movement", final=0.5),
    "movement global": make_rule("movement", final=0.5, scope="global"),
    "movement type": make_rule("movement", final=0.5, scope="type"),
    "soft_movement": make_rule("soft_movement"),
    "l0": make_rule("l0"),
}
# Kernels whose paths differ in a number are of one type, for the scope "type".
PLAIN = {"first": {"w": FIRST["w"]}, "second": {"w": SECOND["w"]}}
NUMBERED = {"0": {"w": FIRST["w"]}, "1": {"w": SECOND["w"]}}
every_kind = pytest.mark.parametrize("kind", KINDS)
# A tree's form and a rule do not meet in the code: every kind takes four pairs of a rule and a
# structure, and kinds of three sorts take all of them.
PAIRS = (("magnitude", "element"), ("movement type", "block"), ("l0", "rows"), ("movement", "2:4"))
CASES = [
    (kind, rule, structure)
    for kind, rule, structure in itertools.product(KINDS, RULES, STRUCTURES)
    if (rule, structure) in PAIRS or kind in ("list", "equinox", "nnx.State")
]


def arrays(tree) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(tree) if eqx.is_array(x)]


def oracle(rule, structure, threshold, paths):
    """Weights, masks and gradients of the same kernels in a nested dict."""
    pruning = Pruning(rule, ".*/w", structure)
    params = NUMBERED if len({re.sub(r"\d", "*", path) for path in paths}) == 1 else PLAIN
    return run(pruning, params, some_scores(pruning, params, turned=False), threshold)


def some_scores(pruning, params, turned):
    """Scores that depend on their place in the kernel, whatever the tree."""
    like = pruning.init_scores(params)
    leaves, treedef = jax.tree.flatten(like)
    new = []
    for number, leaf in enumerate(leaves):
        flip = (turned and pruning.structure == Structure()) or (turned and leaf.shape in TURNED)
        shape = leaf.shape[::-1] if flip else leaf.shape
        made = jnp.asarray(np.random.default_rng(number).normal(size=shape), jnp.float32)
        new.append(made.T if flip else made)
    return treedef.unflatten(new)


TURNED = {(HIDDEN, IN), (OUT, HIDDEN)}


def run(pruning, params, scores, threshold):
    def loss(kernels, scores):
        pruned, masks = pruning.prune(merge(params, kernels), scores, threshold)
        kept = select(pruned, pruning.where)
        return sum(jnp.sum(w**3) for w in jax.tree.leaves(kept)), (pruned, masks)

    kernels = select(params, pruning.where)
    slopes, (pruned, masks) = jax.grad(loss, argnums=(0, 1), has_aux=True)(kernels, scores)
    return pruned, masks, slopes


@pytest.mark.parametrize(("kind", "rule", "structure"), CASES)
def test_masks_and_gradients_are_those_of_a_nested_dict(kind, rule, structure):
    params, where, turned = KINDS[kind]
    made = RULES[rule]
    if structure == "2:4" and not made.is_density:
        pytest.skip("N:M needs a density")
    threshold = 0.1 if rule == "soft_movement" else 0.5
    pruning = Pruning(made, where, STRUCTURES[structure])
    scores = some_scores(pruning, params, turned)
    pruned, masks, slopes = run(pruning, params, scores, threshold)
    paths = flatten(select(params, where))
    expected = oracle(made, STRUCTURES[structure], threshold, paths)

    assert jax.tree.structure(pruned) == jax.tree.structure(params)
    assert flatten(pruned).keys() == flatten(params).keys()
    outside = set(flatten(params)) - set(paths)
    for path in outside:  # nothing else is touched, or renamed
        assert flatten(pruned)[path] is flatten(params)[path]

    def same(found, expected):
        for one, other in zip(arrays(found), arrays(expected), strict=True):
            if turned and one.shape != other.shape:
                one = one.T
            np.testing.assert_allclose(one, other, rtol=1e-6)

    same(select(pruned, where), select(expected[0], ".*/w"))
    same(masks, expected[1])
    same(slopes[0], expected[2][0])
    same(slopes[1], expected[2][1])


@every_kind
def test_a_user_s_own_loop_trains_every_kind_to_its_density(kind):
    params, where, _ = KINDS[kind]
    trained, fixed = eqx.partition(params, eqx.is_inexact_array)
    if kind.startswith("nnx"):
        graph, trained, rest = nnx.split(NnxMlp(), nnx.Param, ...)
        fixed = None
        del graph, rest
    pruning = Pruning(make_rule("movement", final=0.25), where)
    config = OptimizerConfig(learning_rate=1e-2, warmup_steps=2, max_grad_norm=1.0)
    tx = make_optimizer(config, pruning, total_steps=20)
    variables = {
        "params": jax.tree.map(jnp.copy, trained),
        "scores": pruning.init_scores(trained),
        "batch_stats": {"mean": jnp.arange(3.0), "count": jnp.zeros((), jnp.int32)},
    }
    state = TrainState.create(apply_fn=None, params=variables, tx=tx)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state):
        threshold = pruning_state(state.opt_state).threshold

        @jax.checkpoint
        def loss_fn(variables):
            pruned, _ = pruning.prune(variables["params"], variables["scores"], threshold)
            return sum(jnp.sum((w - 0.1) ** 2) for w in jax.tree.leaves(pruned))

        grads = jax.grad(loss_fn, allow_int=True)(state.params)
        grads["batch_stats"] = jax.tree.map(jnp.zeros_like, state.params["batch_stats"])
        return state.apply_gradients(grads=grads)

    before = jax.tree.structure(state)
    for _ in range(20):
        state = step(state)
    assert jax.tree.structure(state) == before
    stats = state.params["batch_stats"]
    assert stats["mean"].tolist() == [0.0, 1.0, 2.0] and int(stats["count"]) == 0
    final = pruning.finalize(state.params, pruning_state(state.opt_state).threshold)
    assert jax.tree.structure(final) == jax.tree.structure(trained)
    kernels = arrays(select(final, where))
    assert [np.count_nonzero(w) for w in kernels] == [w.size // 4 for w in kernels]
    if fixed is not None:  # the functions of an Equinox module
        whole = eqx.combine(final, fixed)
        assert jax.tree.structure(whole) == jax.tree.structure(params)


def test_an_nnx_module_is_pruned_directly_and_goes_on_working():
    net, x = NnxMlp(), jnp.ones((2, IN))
    pruning = Pruning(make_rule("magnitude", final=0.25))
    pruned, _ = pruning.prune(net, {}, 0.25)
    assert isinstance(pruned, NnxMlp) and isinstance(pruned.first.kernel, nnx.Param)
    assert np.count_nonzero(pruned.first.kernel[...]) == IN * HIDDEN // 4
    by_hand = x @ pruned.first.kernel[...] + FIRST["b"][None]
    with jax.numpy_rank_promotion("allow"):  # NNX adds its bias so
        np.testing.assert_allclose(pruned.first(x), by_hand, rtol=1e-6)
    graph, state, rest = nnx.split(net, nnx.Param, ...)
    merged = nnx.merge(graph, pruning.prune(state, {}, 0.25)[0], rest)
    np.testing.assert_array_equal(merged.second.kernel[...], pruned.second.kernel[...])


def test_an_equinox_module_runs_after_pruning():
    net, x = equinox_mlp(), jnp.ones(IN)
    pruned, masks = Pruning(make_rule("magnitude", final=0.5), ".*weight").prune(net, {}, 0.5)
    assert isinstance(pruned, Mlp) and pruned.activation is net.activation
    assert masks["first"]["weight"].shape == (HIDDEN, IN)
    np.testing.assert_allclose(pruned.first(x), pruned.first.weight @ x + FIRST["b"], rtol=1e-6)


def test_a_haiku_network_has_its_own_names():
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([HIDDEN, OUT])(x)))
    x = jnp.ones((2, IN))
    params = net.init(jax.random.key(0), x)
    pruning = Pruning(make_rule("movement", final=0.5), r".*linear_0/w")
    scores = pruning.init_scores(params)
    assert list(scores) == ["mlp/~/linear_0"]
    pruned, _ = pruning.prune(params, scores, 0.5)
    assert pruned.keys() == params.keys()
    assert net.apply(pruned, x).shape == (2, OUT)


def test_scores_shared_by_kernels_of_a_list_have_a_place():
    params = {"layers": [FIRST, SECOND]}
    shared = Shared("units", (("0/w", 1), ("1/w", 0)))
    pruning = Pruning(make_rule("movement", final=0.5), ".*/w", Structure((Part(".*", shared),)))
    scores = pruning.init_scores(params)
    assert [x.shape for x in jax.tree.leaves(scores)] == [(HIDDEN,)]
    scores = jax.tree.map(lambda s: jnp.arange(HIDDEN, dtype=s.dtype), scores)
    pruned, masks = pruning.prune(params, scores, 0.5)
    kept = [False] * 6 + [True] * 6
    assert masks["layers"][0]["w"].any(axis=0).tolist() == kept
    assert masks["layers"][1]["w"].any(axis=1).tolist() == kept
    assert isinstance(pruned["layers"], list)


def test_held_zeros_and_held_masks_in_lists():
    params = [FIRST, {"w": SECOND["w"]}]
    masks = [None, {"w": jnp.zeros((HIDDEN, OUT), bool)}]
    grads = {"params": params, "scores": {}}
    tx = hold_zeros(masks)
    held, _ = tx.update(grads, tx.init(grads))
    assert not held["params"][1]["w"].any()
    np.testing.assert_array_equal(held["params"][0]["w"], FIRST["w"])
    config = OptimizerConfig(prune_every=2, warmup_steps=1)
    pruning = Pruning(make_rule("magnitude", final=0.5), ".*/w")
    tx = make_optimizer(config, pruning, total_steps=10)
    variables = {"params": params, "scores": {}}
    _, state = tx.update(jax.tree.map(jnp.ones_like, variables), tx.init(variables), variables)
    assert jax.tree.structure(pruning.keep(params, {}, 0.5)) == jax.tree.structure(
        select(params, ".*/w")
    )
    assert optax.tree.get(state, "kept")[0]["w"].dtype == bool


def test_vmap_over_scores():
    pruning = Pruning(make_rule("movement", final=0.5), r"\d/w")
    params = [FIRST, SECOND]
    many = jax.tree.map(lambda s: jnp.stack([s, s + 1]), pruning.init_scores(params))
    masks = jax.vmap(lambda s: pruning.prune(params, s, 0.5)[1])(many)
    assert masks[0]["w"].shape == (2, IN, HIDDEN)


@pytest.mark.parametrize(
    ("params", "where", "words"),
    [
        ({"a": {"w": FIRST["w"]}}, ".*/kernel", ["no parameter path", "a/w"]),
        ({"a": FIRST}, ["a/w"], ["where is ['a/w']", "regular expression"]),
        ({"a": FIRST}, "*w", ["where is '*w'", "nothing to repeat", "'.*kernel'"]),
        ([], ".*", ["no parameter path", "no arrays"]),
        ({"a": {"w": jax.nn.relu}}, ".*/w", ["a/w", "no array"]),
        ({"a": {"w": jnp.ones((2, 2), jnp.int32)}}, ".*/w", ["a/w, an array of int32", "floating"]),
        (OrderedDict([(1, FIRST), ("1", FIRST)]), ".*/w", ["two arrays have the path 1/b"]),
    ],
)
def test_what_cannot_be_pruned_is_named(params, where, words):
    with pytest.raises(ValueError) as error:
        Pruning(make_rule("magnitude", final=0.5), where).prune(params, {}, 0.5)
    for word in words:
        assert word in str(error.value)
