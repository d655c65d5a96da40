"""Roles of axes: guessed or given; stacked layers and kernels of several axes are matrices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mpjax.errors import InputError
from mpjax.optim import OptimizerConfig, make_optimizer, pruning_state
from mpjax.pruning import (
    Block,
    NofM,
    Part,
    Pruning,
    Shared,
    Structure,
    TracedDensity,
    flatten,
    make_rule,
    mask_density,
)
from mpjax.pruning.axes import Kernel, from_matrices, guess_axes, to_matrices

DEPTH, WIDTH, HEADS, SIZE = 3, 8, 4, 6


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        h = nn.Dense(2 * WIDTH, name="in")(x)
        return nn.Dense(WIDTH, use_bias=True, name="out")(nn.relu(h)), None


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.scan(
            Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=DEPTH
        )
        return layers(name="layers")(x, None)[0]


def initialised(module, *args):
    params = module.init(jax.random.key(0), *args)["params"]
    key = jax.random.key(1)  # kernels whose layers differ in scale

    def stretched(w):
        scale = jnp.arange(1.0, w.shape[0] + 1).reshape(-1, *[1] * (w.ndim - 1))
        return w + 0.3 * scale * jax.random.normal(key, w.shape)

    return jax.tree.map(stretched, params)


@pytest.fixture(scope="module")
def scanned():
    return initialised(Scanned(), jnp.ones((2, WIDTH)))


@pytest.fixture(scope="module")
def attention():
    module = nn.MultiHeadDotProductAttention(num_heads=HEADS, qkv_features=HEADS * SIZE)
    x = jnp.ones((1, 5, WIDTH))
    return initialised(module, x, x)


def unstacked(params):
    """Layers as arrays of their own."""
    return {f"layer_{i}": jax.tree.map(lambda w, i=i: w[i], params["layers"]) for i in range(DEPTH)}


UNITS = Shared("units", (("in/kernel", 1), ("out/kernel", 0)))
STRUCTURES = {
    "element": Structure(),
    "rows": Structure((Part(".*", Block(1, None)),)),
    "columns": Structure((Part(".*", Block(None, 1)),)),
    "blocks": Structure((Part(".*", Block(4, 4)),)),
    "2:4": Structure((Part(".*", NofM(2, 4)),)),
    "units": Structure((Part(".*", UNITS),)),
}
RULES = {
    "magnitude": make_rule("magnitude", final=0.3),
    "movement": make_rule("movement", final=0.3),
    "movement global": make_rule("movement", final=0.3, scope="global"),
    "movement type": make_rule("movement", final=0.3, scope="type"),
    "l0": make_rule("l0", final=0.3),
    "soft_movement": make_rule("soft_movement", floor=0.2),
}


def scores_like(pruning, params, value):
    """Scores of stacked layers, and of the same layers unstacked, from one source."""
    return jax.tree.map(value, pruning.init_scores(params))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("rule", RULES)
def test_scanned_layers_are_pruned_as_layers_of_their_own(scanned, rule, structure):
    made = RULES[rule]
    if structure == "2:4" and not made.is_density:
        pytest.skip("N:M needs a density")
    pruning = Pruning(made, structure=STRUCTURES[structure])
    flat = unstacked(scanned)
    alone = pruning.init_scores(flat)
    rng = np.random.default_rng(0)
    alone = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) - 2, s.dtype), alone)
    together = {}
    if alone:
        together = {"layers": jax.tree.map(lambda *s: jnp.stack(s), *alone.values())}
    like = pruning.init_scores(scanned)
    assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, together)

    def loss(params, scores):
        pruned, masks = pruning.prune(params, scores, 0.3)
        return sum(jnp.sum(w**3) for w in jax.tree.leaves(pruned)), (masks, pruning.penalty(scores))

    slopes, (masks, penalty) = jax.grad(loss, argnums=(0, 1), has_aux=True)(scanned, together)
    expected, (apart, other) = jax.grad(loss, argnums=(0, 1), has_aux=True)(flat, alone)

    def stacked(tree):
        return {"layers": jax.tree.map(lambda *s: jnp.stack(s), *tree.values())} if tree else {}

    jax.tree.map(np.testing.assert_array_equal, masks, stacked(apart))
    for found, wanted in zip(slopes, expected, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, stacked(wanted)
        )
    assert float(penalty) == pytest.approx(float(other), rel=1e-5)
    kept = pruning.keep(scanned, together, 0.3)
    again, _ = pruning.prune(scanned, together, 0.3, kept=kept)
    assert jax.tree.structure(again) == jax.tree.structure(scanned)
    with pytest.raises(InputError, match=r"marks of shape \(1, .* expected shape \("):
        pruning.prune(scanned, together, 0.3, kept=jax.tree.map(lambda m: m[:1], kept))
    with pytest.raises(InputError, match="kept has no marks for"):
        pruning.prune(scanned, together, 0.3, kept={})


def test_a_width_below_one_is_refused():
    with pytest.raises(InputError, match="heads of width 0; use 1 or more"):
        Shared("heads", (("out/kernel", 0),), width=0)


def test_every_scanned_layer_gets_the_density_asked_for(scanned):
    masks = Pruning(make_rule("magnitude", final=0.1)).prune(scanned, {}, 0.1)[1]
    each = [int(m[i].sum()) for m in flatten(masks).values() for i in range(DEPTH)]
    assert each == [int(0.1 * 2 * WIDTH * WIDTH)] * 2 * DEPTH


def test_a_traced_final_density_counts_layers(scanned):
    pruning = Pruning(make_rule("magnitude", final=0.29))
    exact = {n: int(0.29 * n) for n in pruning.score_sizes(scanned)}
    assert 2 * WIDTH * WIDTH in exact

    @jax.jit
    def kept(final):
        return mask_density(pruning.prune(scanned, {}, TracedDensity(final, final, exact))[1])

    assert float(kept(jnp.float32(0.29))) == pytest.approx(int(0.29 * 128) / 128)


def test_kaiming_scores_of_a_stack_go_by_the_inputs_of_a_layer(scanned):
    pruning = Pruning(make_rule("movement"))
    scores = pruning.init_scores(scanned, jax.random.key(0), init="kaiming")
    inner = scores["layers"]["in"]["kernel"]
    assert 0.9 * WIDTH**-0.5 < float(jnp.abs(inner).max()) <= WIDTH**-0.5
    assert not np.array_equal(inner[0], inner[1])


@pytest.mark.parametrize("name", ["query", "key", "value", "out"])
def test_attention_of_flax_gets_2_to_4_along_its_inputs(attention, name):
    pruning = Pruning(make_rule("magnitude", final=0.5), structure=STRUCTURES["2:4"])
    mask = np.asarray(pruning.prune(attention, {}, 0.5)[1][name]["kernel"])
    matrix = mask.reshape(HEADS * SIZE, WIDTH) if name == "out" else mask.reshape(WIDTH, -1)
    assert (matrix.reshape(-1, 4, matrix.shape[1]).sum(axis=1) == 2).all()


def test_heads_of_flax_attention_share_scores(attention):
    heads = Shared("heads", (("(query|key|value)/kernel", 1), ("out/kernel", 0)), width=SIZE)
    pruning = Pruning(make_rule("movement", final=0.5), structure=Structure((Part(".*", heads),)))
    scores = pruning.init_scores(attention)
    assert scores["heads"].shape == (HEADS,)
    masks = pruning.prune(attention, {"heads": jnp.array([0.0, 3.0, 1.0, 2.0])}, 0.5)[1]
    kept = [False, True, False, True]
    assert masks["query"]["kernel"].all(axis=(0, 2)).tolist() == kept
    assert masks["out"]["kernel"].any(axis=(1, 2)).tolist() == kept


def test_attention_without_bias_is_known_by_its_neighbours():
    module = nn.MultiHeadDotProductAttention(
        num_heads=HEADS, qkv_features=HEADS * SIZE, use_bias=False
    )
    x = jnp.ones((1, 5, WIDTH))
    params = module.init(jax.random.key(0), x, x)["params"]
    shapes = {path: w.shape for path, w in flatten(params).items()}
    assert guess_axes("query/kernel", shapes) == ("input", "output", "output")
    assert guess_axes("out/kernel", shapes) == ("input", "input", "output")


def test_a_scanned_attention_has_a_stack(attention):
    stacked = jax.tree.map(lambda w: jnp.stack([w, 2 * w]), attention)
    shapes = {path: w.shape for path, w in flatten(stacked).items()}
    assert guess_axes("query/kernel", shapes) == ("stack", "input", "output", "output")
    assert guess_axes("out/kernel", shapes) == ("stack", "input", "input", "output")


@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(bias):
    params = nn.Conv(6, (3, 3), use_bias=bias, name="Conv_0").init(
        jax.random.key(0), jnp.ones((1, 8, 8, 4))
    )["params"]
    params = {"Conv_0": params}
    runs = Pruning(make_rule("magnitude", final=0.5), structure=STRUCTURES["2:4"])
    mask = np.asarray(runs.prune(params, {}, 0.5)[1]["Conv_0"]["kernel"])
    assert (mask.sum(axis=2) == 2).all()  # of four input channels
    filters = Pruning(make_rule("movement", final=0.5), structure=STRUCTURES["columns"])
    scores = filters.init_scores(params)
    assert scores["Conv_0"]["kernel"].shape == (1, 6)
    scores = {"Conv_0": {"kernel": jnp.arange(6.0)[None]}}
    mask = filters.prune(params, scores, 0.5)[1]["Conv_0"]["kernel"]
    assert mask.all(axis=(0, 1, 2)).tolist() == [False] * 3 + [True] * 3


def test_axes_that_are_given_win_and_are_checked():
    params = {"q": {"w": jnp.arange(2 * 4 * 8.0).reshape(2, 4, 8)}}  # heads, inputs, size
    rule = make_rule("magnitude", final=0.5)
    with pytest.raises(InputError, match=r"q/w has shape \(2, 4, 8\).*axes are unknown.*Pruning"):
        Pruning(rule, ".*/w").prune(params, {}, 0.5)
    joint = dataclasses.replace(rule, scope="global")  # needs no axes
    assert int(Pruning(joint, ".*/w").prune(params, {}, 0.5)[1]["q"]["w"].sum()) == 32
    given = {"q/.*": "output input output"}
    one = Pruning(rule, ".*/w", axes=given).prune(params, {}, 0.5)[1]["q"]["w"]
    assert not one[0].any() and one[1].all()  # one matrix
    two = Pruning(rule, ".*/w", axes={"q/.*": ("stack", "input", "output")})
    assert two.prune(params, {}, 0.5)[1]["q"]["w"].sum(axis=(1, 2)).tolist() == [16, 16]
    runs = Pruning(rule, ".*/w", STRUCTURES["2:4"], axes=given).prune(params, {}, 0.5)[1]["q"]["w"]
    assert (runs.sum(axis=1) == 2).all()
    for axes, words in (
        ({"k/.*": "stack input output"}, ["'k/.*'", "no kernel", "q/w"]),
        ({"q/.*": "input output"}, ["input output", "q/w", "(2, 4, 8)"]),
        ({"q/.*": "rows input output"}, ["rows", "stack, input or output"]),
        ({"q/.*": "stack stack input"}, ["with an input and an output"]),
    ):
        with pytest.raises(InputError) as error:
            Pruning(rule, ".*/w", axes=axes).prune(params, {}, 0.5)
        for word in words:
            assert word in str(error.value)


STACKED = [f"{name}/kernel" for name in ("query", "key", "value", "out")]


@pytest.mark.parametrize(
    ("path", "shapes", "axes"),
    [
        ("l/kernel", {"l/kernel": (8, 4)}, "input output"),
        ("l/weight", {"l/weight": (8, 4)}, "output input"),
        ("embed/weight", {"embed/weight": (8, 4)}, "input output"),
        ("l/weight", {"l/weight": (3, 8, 4), "l/bias": (3, 8)}, "stack output input"),
        ("c/weight", {"c/weight": (8, 4, 3), "c/bias": (8, 1)}, "output input input"),
        # Convolutions of one input each, or linears of one output.
        ("c/weight", {"c/weight": (8, 1, 3), "c/bias": (8, 1)}, None),
        ("c/weight", {"c/weight": (1, 1, 3), "c/bias": (1, 1)}, "output input input"),
        ("conv/weight", {"conv/weight": (8, 1, 3), "conv/bias": (8, 1)}, "output input input"),
        ("l/w", {"l/w": (3, 4, 8), "l/b": (3, 8)}, "stack input output"),
        ("l/w", {"l/w": (3, 3, 4, 8), "l/b": (8,)}, "input input input output"),
        ("kernel", {"kernel": (3, 4, 8), "bias": (3, 8)}, "stack input output"),
        ("l/kernel", {"l/kernel": (2, 3, 4, 8), "l/bias": (2, 3, 8)}, "stack stack input output"),
        ("l/kernel", {"l/kernel": (2, 2, 2), "l/bias": (2, 2)}, None),
        ("l/kernel", {"l/kernel": (3, 4, 8)}, None),
        ("l/bias", {"l/bias": (3,)}, None),
        # Linears called embed have a bias; tables have none.
        (
            "patch_embed/weight",
            {"patch_embed/weight": (8, 4), "patch_embed/bias": (8,)},
            "output input",
        ),
        ("embedder/linear/weight", {"embedder/linear/weight": (8, 4)}, "output input"),
        # Without a bias, stacks of other layers than they are called.
        ("query/kernel", dict.fromkeys(STACKED, (4, 16, 16)), None),
        ("out/kernel", dict.fromkeys(STACKED, (4, 16, 16)), None),
        ("query/kernel", dict.fromkeys(STACKED, (16, 16, 16)), None),
        ("Conv_0/kernel", {"Conv_0/kernel": (4, 3, 3, 8, 8)}, None),
        (
            "Conv_0/kernel",
            {"Conv_0/kernel": (4, 3, 3, 8, 8), "Conv_0/bias": (8,)},
            "input input input input output",
        ),
    ],
)
def test_guesses(path, shapes, axes):
    assert guess_axes(path, shapes) == (tuple(axes.split()) if axes else None)


def test_matrices_and_back():
    kernel = Kernel((2, 3, 4, 5), ("output", "stack", "input", "output"))
    array = jnp.arange(120.0).reshape(kernel.shape)
    matrices = to_matrices(array, kernel)
    assert matrices.shape == kernel.matrices == (3, 4, 10)
    assert matrices[1, 2, 7] == array[1, 1, 2, 2]
    np.testing.assert_array_equal(from_matrices(matrices, kernel), array)


def test_one_head_is_kept_where_the_density_leaves_none():
    for name in ("movement", "magnitude"):
        rule = make_rule(name, final=0.1)
        params = {"kernel": jnp.arange(1.0, 9.0)[:, None]}
        pruning = Pruning(rule, structure=STRUCTURES["rows"])
        scores = {"kernel": params["kernel"]} if rule.has_scores else {}
        for density in (0.1, jnp.float32(0.1), jnp.float32(0.05)):
            assert int(pruning.prune(params, scores, density)[1]["kernel"].sum()) == 1


def test_a_part_that_matches_nothing_is_an_error():
    pruning = Pruning(
        make_rule("movement"), structure=Structure((Part("atention/.*", Block(1, 1)),))
    )
    with pytest.raises(InputError, match=r"'atention/\.\*' matches no kernel.*attention/kernel"):
        pruning.init_scores({"attention": {"kernel": jnp.ones((2, 2))}})


def test_a_scanned_model_trains_to_its_density(scanned):
    pruning = Pruning(make_rule("movement", final=0.25))
    tx = make_optimizer(OptimizerConfig(warmup_steps=1), pruning, total_steps=12)
    x = jax.random.normal(jax.random.key(0), (16, WIDTH))
    variables = {"params": scanned, "scores": pruning.init_scores(scanned)}
    state = tx.init(variables)

    @jax.jit
    def step(variables, state):
        threshold = pruning_state(state).threshold

        def loss_fn(variables):
            pruned, _ = pruning.prune(variables["params"], variables["scores"], threshold)
            return jnp.mean((Scanned().apply({"params": pruned}, x) - x) ** 2)

        updates, state = tx.update(jax.grad(loss_fn)(variables), state, variables)
        return jax.tree.map(jnp.add, variables, updates), state

    with jax.numpy_rank_promotion("allow"):
        for _ in range(12):
            variables, state = step(variables, state)
    final = pruning.finalize(variables, pruning_state(state).threshold)
    for name in ("in", "out"):
        kernel = np.asarray(final["layers"][name]["kernel"])
        assert [np.count_nonzero(w) for w in kernel] == [32] * DEPTH


@pytest.mark.parametrize("structure", STRUCTURES)
def test_scores_that_begin_as_sizes_cut_as_magnitude_does(scanned, structure):
    """In stacked layers too, each of which has a mean size of its own."""
    by_size = Pruning(make_rule("magnitude", final=0.3), structure=STRUCTURES[structure])
    learned = Pruning(make_rule("movement", final=0.3), structure=STRUCTURES[structure])
    scores = learned.init_scores(scanned, init="magnitude", scale=2.0)
    _, masks = learned.prune(scanned, scores, 0.3)
    jax.tree.map(np.testing.assert_array_equal, masks, by_size.prune(scanned, {}, 0.3)[1])
    for layer in unstacked(learned.init_scores(scanned, init="magnitude")).values():
        for score in jax.tree.leaves(layer):
            assert score.mean() == pytest.approx(1, rel=1e-5) and score.min() >= 0
