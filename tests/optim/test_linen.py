"""`Pruned`: scores as a Flax collection beside the params of any Linen module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mpjax.errors import InputError
from mpjax.linen import Pruned
from mpjax.pruning import Pruning, make_rule


class Net(nn.Module):
    """Small model unlike BERT: convolution, norm, two dense layers."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.relu(nn.Conv(4, (3,), name="conv")(x))
        x = nn.LayerNorm(name="norm")(x).mean(axis=1)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(8, name="hidden")(x)))
        return nn.Dense(2, name="head")(x)


X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7, 3)), jnp.float32)


@pytest.mark.slow
def test_init_returns_both_collections_and_apply_prunes():
    model = Pruned(Net(), Pruning(make_rule("movement", final=0.25), "(conv|hidden)/kernel"))
    variables = model.init(jax.random.key(0), X)
    assert set(variables) == {"params", "scores"}
    assert set(variables["scores"]) == {"conv", "hidden"}
    assert variables["scores"]["conv"]["kernel"].shape == (3, 3, 4)

    variables["scores"]["hidden"]["kernel"] = jnp.arange(32.0).reshape(4, 8)
    by_hand = jax.tree.map(jnp.array, variables["params"])
    by_hand["hidden"]["kernel"] *= (jnp.arange(32.0) >= 24).reshape(4, 8)
    by_hand["conv"]["kernel"] *= (jnp.arange(36) < 9).reshape(3, 3, 4)  # tied: lowest indices stay
    expected = Net().apply({"params": by_hand}, X)
    np.testing.assert_allclose(model.apply(variables, X, threshold=0.25), expected, rtol=1e-6)
    dense = Net().apply({"params": variables["params"]}, X)
    np.testing.assert_array_equal(model.apply(variables, X), dense)


def test_held_marks_stand_for_the_cut():
    pruning = Pruning(make_rule("movement", final=0.25), "hidden/kernel")
    model = Pruned(Net(), pruning)
    variables = model.init(jax.random.key(0), X)
    marks = jax.tree.map(lambda s: jnp.arange(s.size).reshape(s.shape) >= 24, variables["scores"])
    by_hand = jax.tree.map(jnp.array, variables["params"])
    by_hand["hidden"]["kernel"] *= marks["hidden"]["kernel"]
    found = model.apply(variables, X, threshold=0.25, kept=marks)
    np.testing.assert_allclose(found, Net().apply({"params": by_hand}, X), rtol=1e-6)
    assert not np.allclose(found, model.apply(variables, X, threshold=0.25))


@pytest.mark.slow
def test_both_collections_have_gradients_under_jit():
    model = Pruned(Net(), Pruning(make_rule("soft_movement"), lambda path, leaf: leaf.ndim == 2))
    variables = model.init({"params": jax.random.key(0)}, X)
    variables["scores"]["hidden"]["kernel"] = jnp.linspace(-4, 4, 32).reshape(4, 8)

    @jax.jit
    def grads(variables):
        def loss(v):
            rngs = {"dropout": jax.random.key(1)}
            return jnp.sum(model.apply(v, X, train=True, threshold=0.1, rngs=rngs) ** 2)

        return jax.grad(loss)(variables)

    g = grads(variables)
    mask = jnp.linspace(-4, 4, 32).reshape(4, 8) > jnp.log(0.1 / 0.9)
    weights = g["params"]["hidden"]["kernel"]
    assert not jnp.any(jnp.where(mask, 0, weights))
    assert jnp.any(jnp.where(mask, weights, 0))
    assert jnp.any(jnp.where(mask, 0, g["scores"]["hidden"]["kernel"]))  # masked scores still learn


def test_gates_are_noisy_with_their_stream_and_deterministic_without():
    model = Pruned(Net(), Pruning(make_rule("l0"), "hidden/kernel"))
    variables = model.init(jax.random.key(0), X)
    plain = model.apply(variables, X, threshold=1.0)
    np.testing.assert_array_equal(plain, model.apply(variables, X, threshold=1.0))
    noisy = [
        model.apply(variables, X, threshold=1.0, rngs={"gates": jax.random.key(i)}) for i in (0, 1)
    ]
    assert not np.array_equal(noisy[0], noisy[1])


class Normed(nn.Module):
    """Batch statistics and dropout beside the kernels."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(nn.Dense(8, name="hidden")(x))
        return nn.Dense(2, name="head")(nn.Dropout(0.5, deterministic=not train)(x))


HALF = Pruning(make_rule("movement", final=0.5), "hidden/kernel")
TRAIN = {"rngs": {"dropout": jax.random.key(7)}, "mutable": ["batch_stats"], "train": True}


def scored(variables, *path):
    """Variables whose scores at ``path`` rise; and their params, masked at 0.5 by hand."""
    node = variables["scores"]
    by_hand = masked = jax.tree.map(jnp.array, variables["params"])
    for key in path:
        node, masked = node[key], masked[key]
    kernel = masked["hidden"]["kernel"]
    rising = jnp.arange(float(kernel.size)).reshape(kernel.shape)
    node["hidden"]["kernel"] = rising
    masked["hidden"]["kernel"] = kernel * (rising >= kernel.size - kernel.size // 2)
    return variables, by_hand


def equal(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), one, other)


def test_variables_are_those_of_the_module_alone_so_pretrained_ones_fit():
    model, key = Pruned(Normed(), HALF), jax.random.key(3)
    alone = Normed().init(key, X)
    variables = model.init(key, X)
    scores = variables.pop("scores")
    jax.tree.map(np.testing.assert_array_equal, dict(variables), dict(alone))
    assert jax.tree.map(jnp.shape, scores) == {"hidden": {"kernel": (3, 8)}}
    equal(model.apply({**alone, "scores": scores}, X), Normed().apply(alone, X))


def test_init_with_output_prunes_too():
    model, key = Pruned(Normed(), HALF), jax.random.key(3)
    out, variables = model.init_with_output(key, X, threshold=0.5)
    equal(out, model.apply(variables, X, threshold=0.5))
    assert not np.allclose(out, model.apply(variables, X))


def test_batch_stats_dropout_and_intermediates_are_those_of_the_module():
    model = Pruned(Normed(), HALF)
    variables, by_hand = scored(model.init(jax.random.key(0), X))
    expected = Normed().apply({**variables, "params": by_hand}, X, **TRAIN)
    equal(model.apply(variables, X, threshold=0.5, **TRAIN), expected)
    before = variables["batch_stats"]["norm"]["mean"]
    assert not np.allclose(expected[1]["batch_stats"]["norm"]["mean"], before)

    _, kept = model.apply(variables, X, threshold=0.5, capture_intermediates=True)
    _, alone = Normed().apply({**variables, "params": by_hand}, X, capture_intermediates=True)
    for name in ("hidden", "norm", "head"):
        equal(kept["intermediates"][name], alone["intermediates"][name])

    _, everything = model.apply(variables, X, threshold=0.5, mutable=True)
    equal(everything["params"], variables["params"])  # the masked ones do not leak out


class Compact(nn.Module):
    @nn.compact
    def __call__(self, x, threshold=None):
        return Pruned(Normed(), HALF, name="enc")(nn.Dense(3)(x), threshold=threshold)


class Setup(nn.Module):
    def setup(self):
        self.first, self.enc = nn.Dense(3), Pruned(Normed(parent=None), HALF)

    def __call__(self, x, threshold=None):
        return self.enc(self.first(x), threshold=threshold)


class Unpruned(nn.Module):
    name_of_first: str
    name_of_rest: str

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3, name=self.name_of_first)(x)
        return Normed(name=self.name_of_rest)(x)


@pytest.mark.parametrize(
    ("outer", "first", "rest"), [(Compact, "Dense_0", "Normed_0"), (Setup, "first", "enc")]
)
def test_it_nests_in_another_module(outer, first, rest):
    variables, by_hand = scored(outer().init(jax.random.key(0), X), rest)
    alone = Unpruned(first, rest)
    assert jax.tree.map(jnp.shape, variables["scores"]) == {rest: {"hidden": {"kernel": (3, 8)}}}
    expected = alone.apply({**variables, "params": by_hand}, X)
    equal(outer().apply(variables, X, 0.5), expected)
    equal(jax.jit(outer().apply)(variables, X, jnp.float32(0.5)), expected)
    equal(outer().apply(variables, X), alone.apply({**variables, "scores": {}}, X))


class Tied(nn.Module):
    """Uses a layer of its parent, and of a module that was passed in."""

    embed: nn.Module
    own: nn.Module

    @nn.compact
    def __call__(self, x):
        return self.embed(self.own(x))


def test_a_layer_of_the_parent_stays_dense_and_one_passed_in_is_pruned():
    pruning = Pruning(make_rule("movement", final=0.5), "own/kernel")

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x, threshold=None):
            embed = nn.Dense(3, name="embed")
            return Pruned(Tied(embed, nn.Dense(3, parent=None)), pruning)(
                embed(x), threshold=threshold
            )

    variables = Outer().init(jax.random.key(0), X)
    assert set(variables["params"]) == {"embed", "Tied_0"}
    assert jax.tree.map(jnp.shape, variables["scores"]) == {"Tied_0": {"own": {"kernel": (3, 3)}}}
    pruned, _ = pruning.prune(variables["params"]["Tied_0"], variables["scores"]["Tied_0"], 0.5)
    embed = lambda x: nn.Dense(3).apply({"params": variables["params"]["embed"]}, x)  # noqa: E731
    expected = embed(nn.Dense(3).apply({"params": pruned["own"]}, embed(X)))
    equal(Outer().apply(variables, X, 0.5), expected)


def test_it_is_bound_tabulated_and_compiled_like_any_module():
    model = Pruned(Normed(), HALF)
    variables, by_hand = scored(model.init(jax.random.key(0), X))
    expected = Normed().apply({**variables, "params": by_hand}, X)
    dense = Normed().apply({**variables, "scores": {}}, X)
    bound = model.bind(variables)
    equal(bound.module(X), dense)
    equal(bound(X, threshold=0.5), expected)
    assert bound.variables.keys() == variables.keys()

    table = model.tabulate(
        jax.random.key(0), X, threshold=0.5, console_kwargs={"width": 200, "force_terminal": False}
    )
    for word in ("Pruned", "scores", "batch_stats", "hidden", "24 (96 B)", "32 (128 B)"):
        assert word in table

    for compiled in (nn.jit(Pruned)(Normed(), HALF).apply, jax.jit(model.apply)):
        equal(compiled(variables, X, threshold=0.5), expected)
        equal(compiled(variables, X), dense)


def test_layers_may_be_scanned():
    class Stack(nn.Module):
        @nn.compact
        def __call__(self, x, threshold=None):
            layer = Pruned(nn.Dense(3), Pruning(make_rule("movement", final=0.5), "kernel"))
            body = nn.scan(
                lambda module, x, _: (module(x, threshold=threshold), None),
                variable_axes={"params": 0, "scores": 0},
                split_rngs={"params": True},
                length=2,
            )
            return body(layer, x, None)[0]

    variables = Stack().init(jax.random.key(0), X)
    [params], [scores] = variables["params"].values(), variables["scores"].values()
    assert scores["kernel"].shape == (2, 3, 3)
    expected = X
    for i in range(2):
        layer = jax.tree.map(lambda w, i=i: w[i], params)
        layer["kernel"] *= (jnp.arange(9) < 4).reshape(3, 3)  # int(0.5 * 9), tied
        expected = nn.Dense(3).apply({"params": layer}, expected)
    equal(Stack().apply(variables, X, 0.5), expected)


def test_scores_that_do_not_fit_are_named():
    model = Pruned(Normed(), HALF)
    variables = model.init(jax.random.key(0), X)
    with pytest.raises(InputError, match=r"no hidden/kernel, expected shape \(3, 8\)"):
        model.apply({**variables, "scores": {}}, X, threshold=0.5)
    model.apply({**variables, "scores": {}}, X)  # dense, no scores needed
