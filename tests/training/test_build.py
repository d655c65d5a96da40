"""Parts of a run made from its config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.config.length import run_length
from mpjax.config.recipes import recipe_config
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.pruning import Pruning, linear_warmup_decay, make_rule, unflatten
from mpjax.training.build import make_learning_rates, make_optimizers, movement_note, rate_note

BASE = {
    "model": "m", "task": "sst2", "output": "o", "method": "movement", "density": 0.5,
    "learning_rate": 1e-3, "steps": 20, "warmup": 2, "clip": 0.0,
}  # fmt: skip
RATES = [
    {},
    {"lr_floor": 1e-4},
    {"lr_cycle": 5},
    {"lr_cycle": 0.2, "lr_floor": 1e-4, "initial_warmup": 2.0},
    {"lr_cycle": 4, "first_step": 1},
]


@pytest.mark.parametrize("options", RATES, ids=str)
def test_the_rates_logged_are_those_applied(options, x64):
    """With a constant gradient a step of Adam is the learning rate."""
    config = resolve(TrainConfig(**(BASE | options), train_embeddings=True))  # there are none
    length, pruning = run_length(config, 1), Pruning(make_rule("movement"))
    tx = make_optimizers(config, pruning, length)(None)
    params = {"d": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    variables = {"params": params, "scores": pruning.init_scores(params)}
    state, update = tx.init(variables), jax.jit(tx.update)
    logged = make_learning_rates(config, length)
    for step in range(length.total_steps):
        updates, state = update(jax.tree.map(jnp.ones_like, variables), state, variables)
        rates = logged(step)
        for leaf in updates["params"]["d"].values():
            np.testing.assert_allclose(-leaf, rates["learning_rate"], rtol=1e-7)
        np.testing.assert_allclose(
            -updates["scores"]["d"]["kernel"], rates["score_learning_rate"], rtol=1e-7
        )


@pytest.mark.parametrize("first_step", [0, 1])
def test_cycles_start_with_the_first_pruning_and_end_at_the_floor(first_step):
    changes = {"lr_cycle": 5, "lr_floor": 1e-4, "initial_warmup": 3.0, "final_warmup": 1.0}
    config = resolve(TrainConfig(**(BASE | changes), first_step=first_step))
    rate = make_learning_rates(config, run_length(config, 1))
    values = [float(rate(t)["learning_rate"]) for t in range(21)]
    rises = [t for t in range(1, 20) if values[t] > values[t - 1]]
    start = 3 * 2 - first_step  # the update whose masks are the first of the ramp
    assert rises == [1, 2, start, start + 5, start + 10]
    assert values[start] == pytest.approx(1e-3) and values[20] == pytest.approx(1e-4)
    assert values[start + 4] == pytest.approx(1e-4 + 9e-4 / 5)


def test_cycles_start_with_the_first_cut_of_whole_steps():
    changes = {"lr_cycle": 4, "prune_every": 4, "initial_warmup": 3.0}
    config = resolve(TrainConfig(**(BASE | changes)))
    rate = make_learning_rates(config, run_length(config, 1))
    values = [float(rate(t)["learning_rate"]) for t in range(20)]
    rises = [t for t in range(1, 20) if values[t] > values[t - 1]]
    assert rises == [1, 2, 8, 12, 16]  # the ramp starts at 6, and masks change at multiples of 4


def test_without_cycle_and_floor_the_rate_is_bit_for_bit_the_published_one():
    config = resolve(TrainConfig(**BASE))
    length = run_length(config, 1)
    rate, usual = make_learning_rates(config, length), linear_warmup_decay(1e-3, 20, 2)
    assert all(rate(t)["learning_rate"] == usual(t) for t in range(21))


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({}, True),  # rates 0, 1/2 of 1e-3 until the cut at step 2
        ({"learning_rate": 0.13}, True),
        ({"learning_rate": 0.15}, False),  # 0.075 is above 2/3 of 0.105
        ({"score_optimizer": "sgd"}, True),
        ({"score_optimizer": "sensitivity"}, False),
        ({"mask_init": "magnitude"}, False),
        ({"method": "magnitude"}, False),
        ({"freeze": "weights,head"}, False),
    ],
    ids=str,
)
def test_a_cut_before_weights_can_have_moved_is_noted(changes, noted):
    config = resolve(TrainConfig(**(BASE | {"mask_init": "constant"} | changes)))
    where = "bert/encoder/layer_0/attention/query/kernel"
    params = unflatten({where: np.array([[0.1, -0.11]]), "bert/pooler/kernel": np.ones((2, 2))})
    note = movement_note(config, run_length(config, 1), params)
    assert (note is not None) == noted
    if note and not changes:
        assert "step 2" in note and "0.0005" in note and "0.1" in note


def test_the_rate_of_the_recipe_is_noted_for_wide_models():
    given = {name: BASE[name] for name in ("model", "task", "output")}
    given |= {"density": 0.1, "steps": 200}
    note = rate_note(resolve(recipe_config(None, **given)), 768)
    assert note and "0.0004" in note and "width 384; this one has 768" in note
    assert rate_note(resolve(recipe_config(None, **given)), 384) is None
    for name, options in ((None, {"learning_rate": 1e-4}), ("platon", {}), ("gmp", {})):
        assert rate_note(resolve(recipe_config(name, **given, **options)), 768) is None
