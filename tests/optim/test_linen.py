"""Scores as a Flax collection, through the wrapper, for any module."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mpjax.linen import Pruned
from mpjax.pruning import Pruning, make_rule


class Net(nn.Module):
    """A model that has nothing to do with BERT: convolution, norm, two dense layers."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.relu(nn.Conv(4, (3,), name="conv")(x))
        x = nn.LayerNorm(name="norm")(x).mean(axis=1)
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Dense(8, name="hidden")(x)))
        return nn.Dense(2, name="head")(x)


X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 7, 3)), jnp.float32)


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
