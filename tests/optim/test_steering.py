"""Density steering: exact at the end whatever λ does, and equal to a NumPy replay of its law."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpjax.optim import (
    Funnel,
    Hyperparameters,
    OptimizerConfig,
    SteeringState,
    find_state,
    make_optimizer,
    pruning_state,
    steer_density,
)
from mpjax.optim.make import make_funnel
from mpjax.pruning import Pruning, linear_density, make_rule

SHAPES = {"a": (20, 30), "b": (40, 10)}
WEIGHTS = 1000


def problem(seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda: {k: {"kernel": jnp.asarray(rng.normal(size=s))} for k, s in SHAPES.items()}  # noqa: E731
    return draw(), draw()


def train(rule, total=60, score_rate=0.1, hyperparameters=None, seed=0):
    """Densities by step, final parameters and last state of a least-squares fit."""
    params, target = problem(seed)
    pruning = Pruning(rule)
    config = OptimizerConfig(0.05, score_rate, warmup_steps=total // 10, frozen="")
    tx = make_optimizer(config, pruning, total, hyperparameters)
    variables = {"params": params, "scores": pruning.init_scores(params)}
    density = (hyperparameters or config.hyperparameters()).density

    @jax.jit
    def step(variables, state):
        now = density(pruning_state(state).threshold)

        def loss(variables):
            pruned, masks = pruning.prune(variables["params"], variables["scores"], now)
            errors = jax.tree.map(lambda p, t: jnp.sum((p - t) ** 2), pruned, target)
            return sum(jax.tree.leaves(errors)), pruning.density(masks)

        grads, kept = jax.grad(loss, has_aux=True)(variables)
        updates, state = tx.update(grads, state, variables)
        return optax.apply_updates(variables, updates), state, kept

    state, seen = tx.init(variables), []
    for _ in range(total):
        variables, state, kept = step(variables, state)
        seen.append(float(kept))
    final = pruning.finalize(variables, density(pruning_state(state).threshold))
    return seen, final, state


def rules(density):
    return [
        make_rule("soft_movement", density=density),
        make_rule("l0", final=density, scope="global", steered=True),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [1e-4, 0.1, 5.0])  # scores that hardly move, and that fly
@pytest.mark.parametrize("density", [0.5, 0.29, 0.1, 0.01])
def test_the_final_density_is_exact_whatever_the_scores_do(density, rate):
    for rule in rules(density):
        _, final, _ = train(rule, score_rate=rate)
        kept = linear_density(final, ".*kernel") * WEIGHTS
        assert round(kept) == int(density * WEIGHTS), rule.name


@pytest.mark.slow
def test_the_density_stays_in_the_funnel():
    rule, total = rules(0.1)[0], 60
    seen, _, _ = train(rule, total)
    config = OptimizerConfig(warmup_steps=6)
    walls = make_funnel(config, rule, total, config.hyperparameters())
    for t, density in enumerate(seen):
        assert float(walls.lower(t)) - 1.1e-3 <= density <= float(walls.upper(t)) + 1e-6
    assert seen[6] == 1 and seen[-1] == pytest.approx(0.1)


@pytest.mark.slow
def test_a_traced_density_gives_the_same_run():
    density = 0.29  # int(0.29 * 1000) is 290, and 289 in float32
    for rule in rules(density):
        counts = {n: np.int32(rule.num_kept(density, n)) for n in (600, 400, WEIGHTS)}
        values = Hyperparameters(0.05, 0.1, None, np.float32(density), counts)
        own, traced = train(rule), train(rule, hyperparameters=values)
        assert own[0] == traced[0]
        for a, b in zip(jax.tree.leaves(own[1]), jax.tree.leaves(traced[1]), strict=True):
            np.testing.assert_array_equal(a != 0, b != 0)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_lambda_follows_its_law(x64):
    """One score per weight, plain descent: own density, walls, feedback and unit by hand."""
    rule = make_rule("soft_movement", density=0.25)
    pruning, total, gain, direct = Pruning(rule), 8, 3.0, 0.5
    lower, upper = np.linspace(1, 0.25, 9), np.linspace(1, 0.5, 9)
    at = lambda values: lambda step: jnp.asarray(values)[step]  # noqa: E731
    tau, scale = np.linspace(0.1, 0.6, 9), np.linspace(0, 1, 9)
    funnel = Funnel(at(lower), at(upper), at(tau), at(scale))
    tx = steer_density(
        optax.sgd(0.7), pruning, funnel, total, first_step=0, gain=gain, proportional=direct
    )
    rng = np.random.default_rng(0)
    params = {"a": {"kernel": jnp.asarray(rng.normal(size=(4, 5)))}}
    variables = {"params": params, "scores": pruning.init_scores(params)}
    state, s = tx.init(variables), np.zeros((4, 5))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    log_lam = unit = lam = 0.0
    update = jax.jit(tx.update)
    for t in range(total):
        g = rng.normal(size=(4, 5))
        zeros = jax.tree.map(jnp.zeros_like, params)
        grads = {"params": zeros, "scores": {"a": {"kernel": jnp.asarray(g)}}}
        updates, state = update(grads, state, variables)
        variables = optax.apply_updates(variables, updates)
        slope = sigmoid(s) * (1 - sigmoid(s)) / s.size
        beta = min(0.98, t / (t + 1))
        unit = beta * unit + (1 - beta) * np.linalg.norm(g) / np.linalg.norm(slope)
        s = s - 0.7 * (g + lam * slope)
        own = np.mean(sigmoid(s) > tau[t + 1])
        density = min(max(own, lower[t + 1]), upper[t + 1])
        error = np.clip(np.log(max(own, 1e-9) / density), -1, 1)
        log_lam = np.clip(log_lam + gain / total * error, -2, 2)
        lam = np.exp(log_lam + direct * error) * unit * scale[t + 1]
        np.testing.assert_allclose(variables["scores"]["a"]["kernel"], s, rtol=1e-12)
        found = find_state(state, SteeringState)
        np.testing.assert_allclose(found.schedule.threshold, density, rtol=1e-12)
        np.testing.assert_allclose(found.schedule.lam, lam, rtol=1e-12)
    assert log_lam != 0


def test_kept_gates_of_a_steered_l0_are_open():
    rule = make_rule("l0", final=0.5, scope="global", steered=True)
    scores = {"a": {"kernel": jnp.asarray([[-9.0, -8.0, -7.0, 3.0]])}}
    masks = rule.masks({}, scores, 0.5)["a"]["kernel"][0]
    assert masks[0] == masks[1] == 0 and 0 < masks[2] < 0.02 and masks[3] > 0.9


def test_rules_that_cannot_be_steered_say_so():
    with pytest.raises(ValueError, match="steered needs scope 'global'"):
        make_rule("l0", final=0.5, steered=True)
    with pytest.raises(ValueError, match=r"density is 1.5, not in \(0, 1\]"):
        make_rule("soft_movement", density=1.5)
    with pytest.raises(NotImplementedError, match="magnitude keeps a number of scores"):
        make_rule("magnitude").kept_by_threshold({}, 0.1)
