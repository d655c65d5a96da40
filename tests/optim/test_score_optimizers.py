"""Score optimisers against NumPy replays of their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpjax.optim import OptimizerConfig, make_optimizer, pruning_state, schedules
from mpjax.optim.score_optimizers import hold_between, platon, sensitivity
from mpjax.pruning import Pruning, make_rule

STEPS, SHAPE = 7, (3, 4)


def gradients():
    return np.random.default_rng(0).standard_normal((STEPS, *SHAPE))


def replay(tx, jit=True):
    """Scores after every step."""
    scores = {"a": jnp.zeros(SHAPE)}
    state, seen = tx.init(scores), []

    def step(scores, state, grad):
        updates, state = tx.update({"a": grad}, state, scores)
        return optax.apply_updates(scores, updates), state

    step = jax.jit(step, donate_argnums=1) if jit else step
    for grad in gradients():
        scores, state = step(scores, state, jnp.asarray(grad))
        seen.append(np.asarray(scores["a"]))
    return seen


def means(beta):
    mean, seen = np.zeros(SHAPE), []
    for grad in gradients():
        mean = beta * mean + (1 - beta) * abs(grad)
        seen.append(mean)
    return seen


def test_sensitivity_is_a_moving_average_of_the_absolute_gradient(x64):
    np.testing.assert_allclose(replay(sensitivity(0.7)), means(0.7), rtol=1e-12)


def test_platon_is_sensitivity_times_uncertainty(x64):
    spread, seen = np.zeros(SHAPE), []
    for grad, mean in zip(gradients(), means(0.85), strict=True):
        spread = 0.9 * spread + 0.1 * abs(abs(grad) - mean)
        seen.append(mean * spread)
    np.testing.assert_allclose(replay(platon(0.85, 0.9)), seen, rtol=1e-12)


@pytest.mark.parametrize("every", [1, 3])
def test_held_scores_change_at_multiples_only_and_lose_no_gradient(every, x64):
    free, held = replay(platon()), replay(hold_between(platon(), every))
    for step in range(1, STEPS + 1):
        last = step // every * every
        expected = free[last - 1] if last else np.zeros(SHAPE)
        np.testing.assert_allclose(held[step - 1], expected, rtol=1e-12)


@pytest.mark.parametrize("make", [sensitivity, platon])
def test_jit_equals_eager(make):
    np.testing.assert_allclose(replay(make(0.5))[-1], replay(make(0.5), jit=False)[-1], rtol=1e-6)


@pytest.mark.parametrize("make", [sensitivity, platon])
def test_an_importance_needs_the_scores(make):
    tx = make()
    with pytest.raises(ValueError, match=f"{make.__name__} needs the scores"):
        tx.update({"a": jnp.ones(2)}, tx.init({"a": jnp.ones(2)}))


def test_an_interval_is_positive():
    with pytest.raises(ValueError, match="every 0 steps; use 1 or more"):
        hold_between(platon(), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "sensitivity", "platon"])
def test_masks_change_at_every_third_step_and_end_at_the_density(name):
    every = 1 if name == "sgd" else 3
    config = OptimizerConfig(warmup_steps=1, score_optimizer=name, prune_every=every)
    pruning = Pruning(make_rule("movement", final=0.25, scope="global"), dense_gradient=True)
    total, rng = 11, np.random.default_rng(0)
    tx = make_optimizer(config, pruning, total)
    params = {"a": {"kernel": jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)}}
    variables = {"params": params, "scores": pruning.init_scores(params)}
    state, target = tx.init(variables), jnp.asarray(rng.normal(size=(8, 6)), jnp.float32)

    @jax.jit
    def step(variables, state):
        now = pruning_state(state)

        def loss(variables):
            pruned, masks = pruning.prune(variables["params"], variables["scores"], now.threshold)
            return jnp.sum((pruned["a"]["kernel"] - target) ** 2), masks["a"]["kernel"]

        grads, mask = jax.grad(loss, has_aux=True)(variables)
        updates, state = tx.update(grads, state, variables)
        return optax.apply_updates(variables, updates), state, mask, grads

    masks = []
    for _ in range(total):
        variables, state, mask, grads = step(variables, state)
        masks.append(np.asarray(mask))
        assert np.all(np.asarray(grads["params"]["a"]["kernel"]) != 0)  # masked weights learn too
    changed = [t for t in range(1, total) if not np.array_equal(masks[t], masks[t - 1])]
    assert changed and all(t % every == 0 for t in changed)
    final = pruning.finalize(variables, pruning_state(state).threshold)
    assert int(jnp.count_nonzero(final["a"]["kernel"])) == int(0.25 * 48)


def test_a_first_cut_jumps_to_its_density():
    config = OptimizerConfig(warmup_steps=2, first_density=0.5)
    threshold, _ = schedules(config, make_rule("movement", final=0.1), 20)
    values = [float(threshold(t)) for t in (1, 2, 3, 17, 20)]
    assert values[:2] == [1, 0.5] and 0.4 < values[2] < 0.5
    assert values[3:] == [pytest.approx(0.1)] * 2


def test_what_cannot_be_held_is_refused():
    with pytest.raises(ValueError, match="masks change every 0 steps"):
        OptimizerConfig(prune_every=0)
    with pytest.raises(ValueError, match="score_optimizer is 'momentum'; it must be one of adam"):
        OptimizerConfig(score_optimizer="momentum")
