"""Held masks change at the steps that are due, whatever the rule, and equal a fresh cut then."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpjax.optim import (
    OptimizerConfig,
    held_marks,
    hold_masks,
    make_optimizer,
    pruning_state,
)
from mpjax.pruning import Pruning, make_rule

TOTAL, EVERY = 11, 3

RULES = {
    "magnitude": ("adam", make_rule("magnitude", final=0.25, scope="global")),
    "movement": ("adam", make_rule("movement", final=0.25)),
    "sgd": ("sgd", make_rule("movement", final=0.25)),
    "sensitivity": ("sensitivity", make_rule("movement", final=0.25, scope="global")),
    "platon": ("platon", make_rule("movement", final=0.25, scope="global")),
    "soft_movement": ("adam", make_rule("soft_movement", density=0.25)),
    "l0": ("adam", make_rule("l0", final=0.25, scope="global", steered=True)),
}


def run(name, first_cut=None):
    """Masks of every step, fresh cuts at every step, and the final parameters."""
    optimizer, rule = RULES[name]
    config = OptimizerConfig(
        0.05, 0.5, warmup_steps=1, score_optimizer=optimizer,
        prune_every=EVERY, first_cut=first_cut, frozen="", final_warmup=3.0,
    )  # fmt: skip
    pruning = Pruning(rule, dense_gradient=True)
    tx, rng = make_optimizer(config, pruning, TOTAL), np.random.default_rng(0)
    params = {"a": {"kernel": jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)}}
    variables = {"params": params, "scores": pruning.init_scores(params)}
    state, target = tx.init(variables), jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)

    @jax.jit
    def step(variables, state):
        now, kept = pruning_state(state), held_marks(state)

        def loss(variables):
            scores = variables["scores"]
            pruned, masks = pruning.prune(variables["params"], scores, now.threshold, kept=kept)
            return jnp.sum((pruned["a"]["kernel"] - target) ** 2), masks["a"]["kernel"] != 0

        grads, mask = jax.grad(loss, has_aux=True)(variables)
        fresh = pruning.keep(variables["params"], variables["scores"], now.threshold)
        updates, state = tx.update(grads, state, variables)
        return optax.apply_updates(variables, updates), state, mask, fresh["a"]["kernel"]

    masks, fresh = [], []
    for _ in range(TOTAL):
        variables, state, mask, cut = step(variables, state)
        masks.append(np.asarray(mask))
        fresh.append(np.asarray(cut))
    now = pruning_state(state).threshold
    return masks, fresh, pruning.finalize(variables, now, kept=held_marks(state))


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_masks_change_when_due_and_equal_a_fresh_cut(name):
    masks, fresh, final = run(name)
    changed = [t for t in range(1, TOTAL) if not np.array_equal(masks[t], masks[t - 1])]
    assert changed and all(t % EVERY == 0 for t in changed)
    for t in range(0, TOTAL, EVERY):
        np.testing.assert_array_equal(masks[t], fresh[t])
    np.testing.assert_array_equal(np.asarray(final["a"]["kernel"]) != 0, masks[-1])
    assert masks[-1].sum() == int(0.25 * 48)


@pytest.mark.slow
def test_cuts_are_counted_from_the_first():
    masks, fresh, _ = run("magnitude", first_cut=2)
    changed = [t for t in range(1, TOTAL) if not np.array_equal(masks[t], masks[t - 1])]
    assert changed == [2, 5, 8]
    for t in changed:
        np.testing.assert_array_equal(masks[t], fresh[t])


@pytest.mark.slow
def test_between_the_cuts_a_fresh_one_would_differ():
    masks, fresh, _ = run("movement")
    assert any(not np.array_equal(m, f) for m, f in zip(masks, fresh, strict=True))


def test_one_step_between_cuts_holds_nothing():
    config = OptimizerConfig(warmup_steps=1, prune_every=1)
    pruning = Pruning(make_rule("magnitude"))
    tx = make_optimizer(config, pruning, 10)
    assert held_marks(tx.init({"params": {"kernel": jnp.ones((2, 2))}, "scores": {}})) is None


def test_the_wrapped_optimizer_has_a_schedule():
    tx = hold_masks(optax.sgd(0.1), Pruning(make_rule("magnitude")), lambda step: step > 0)
    with pytest.raises(ValueError, match="needs an optimiser with a sparsity_schedule"):
        tx.init({"params": {"kernel": jnp.ones((2, 2))}, "scores": {}})


def test_an_interval_is_positive():
    with pytest.raises(ValueError, match="every 0 steps; use 1 or more"):
        OptimizerConfig(prune_every=0)
