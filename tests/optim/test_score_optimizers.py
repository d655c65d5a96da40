"""Score optimisers against NumPy replays of their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpjax.optim import OptimizerConfig, make_optimizer, schedules
from mpjax.optim.score_optimizers import platon, sensitivity
from mpjax.pruning import Block, Part, Pruning, Structure, make_rule

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


@pytest.mark.parametrize("make", [sensitivity, platon])
def test_jit_equals_eager(make):
    np.testing.assert_allclose(replay(make(0.5))[-1], replay(make(0.5), jit=False)[-1], rtol=1e-6)


def test_half_precision_keeps_a_long_memory():
    tx, scores = sensitivity(0.99), {"a": jnp.zeros(3, jnp.bfloat16)}
    importance = jnp.asarray([1.0, 0.9, 0.1], jnp.bfloat16)

    @jax.jit
    def step(carry, _):
        scores, state = carry
        updates, state = tx.update({"a": importance}, state, scores)
        assert updates["a"].dtype == jnp.bfloat16
        return (optax.apply_updates(scores, updates), state), None

    (scores, _), _ = jax.lax.scan(step, (scores, tx.init(scores)), None, 2000)
    np.testing.assert_array_equal(scores["a"], importance)


@pytest.mark.parametrize("make", [sensitivity, platon])
def test_an_importance_needs_the_scores(make):
    tx = make()
    with pytest.raises(ValueError, match=f"{make.__name__} needs the scores"):
        tx.update({"a": jnp.ones(2)}, tx.init({"a": jnp.ones(2)}))


def test_a_first_cut_jumps_to_its_density():
    config = OptimizerConfig(warmup_steps=2, first_density=0.5)
    threshold, _ = schedules(config, make_rule("movement", final=0.1), 20)
    values = [float(threshold(t)) for t in (1, 2, 3, 17, 20)]
    assert values[:2] == [1, 0.5] and 0.4 < values[2] < 0.5
    assert values[3:] == [pytest.approx(0.1)] * 2


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="score_optimizer is 'momentum'; it must be one of adam"):
        OptimizerConfig(score_optimizer="momentum")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("sensitivity", 0.75 * np.array([1, 2, 4])),
        ("platon", 0.75 * np.array([1, 2, 4]) * 0.05 * 0.25 * np.array([1, 2, 4])),  # Ī·U
    ],
)
def test_the_share_that_a_step_keeps_is_that_of_the_config(name, wanted):
    pruning = Pruning(make_rule("movement", scope="global"), "a")
    config = OptimizerConfig(score_optimizer=name, score_beta=0.25, max_grad_norm=np.inf)
    tx = make_optimizer(config, pruning, 10)
    variables = {"params": {"a": jnp.ones(3)}, "scores": {"a": jnp.zeros(3)}}
    grads = {"params": {"a": jnp.zeros(3)}, "scores": {"a": jnp.asarray([1.0, 2.0, -4.0])}}
    updates, _ = tx.update(grads, tx.init(variables), variables)
    np.testing.assert_allclose(updates["scores"]["a"], wanted, rtol=1e-5)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(beta):
    with pytest.raises(ValueError, match=f"score_beta is {beta}; it must be at least 0"):
        OptimizerConfig(score_beta=beta)


def test_an_importance_of_a_structure_is_per_weight():
    rows = Structure((Part("kernel", Block(1, None)),))
    pruning = Pruning(make_rule("movement", scope="global"), "kernel", rows)
    config = OptimizerConfig(score_optimizer="sensitivity", max_grad_norm=np.inf)
    tx = make_optimizer(config, pruning, 10)
    params = {"kernel": jnp.ones((2, 4))}
    variables = {"params": params, "scores": pruning.init_scores(params)}
    grads = {"params": {"kernel": jnp.zeros((2, 4))}, "scores": {"kernel": jnp.full((2, 1), -8.0)}}
    updates, _ = tx.update(grads, tx.init(variables), variables)
    np.testing.assert_allclose(
        updates["scores"]["kernel"], np.full((2, 1), 0.15 * 8 / 4), rtol=1e-6
    )
