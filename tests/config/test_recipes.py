"""Recipes: found by file, overridden by options, refused where they have no effect."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from mpjax import cli
from mpjax.cli.arguments import train_config
from mpjax.config import recipes
from mpjax.config.length import run_length, shortened
from mpjax.config.resolve import config_rule, resolve
from mpjax.config.scores import IMPORTANCES
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.optim import schedules, score_optimizers
from mpjax.training.build import make_learning_rates, optimizer_config

BASE = ["train", "--model", "m", "--task", "sst2", "--output", "o", "--density", "0.1"]


def config(*words: str) -> TrainConfig:
    return train_config(cli.parse([*BASE, *words]))


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_resolves_and_gives_its_options(name):
    recipe = recipes.get(name)
    words = ["--method", "movement"] if name == "published" else []
    resolved = resolve(config("--recipe", name, *words))
    assert recipe.summary and recipe.source
    for field, value in recipe.options.items():
        assert getattr(resolved, field) == value
    assert resolved.final_threshold == 0.1
    assert resolve(resolved) == resolved


def test_options_given_override_the_recipe_even_where_they_are_defaults():
    made = config("--recipe", "platon", "--scope", "local", "--prune-every=3", "--seed", "0")
    assert (made.scope, made.prune_every, made.score_optimizer) == ("local", 3, "platon")
    assert config("--recipe", "platon").scope == "global"


def test_another_score_optimizer_takes_the_rest_of_a_recipe():
    adam = config("--score-optimizer", "adam")
    assert (resolve(adam).score_beta, adam.scope) == (TrainConfig.score_beta, "global")
    assert config("--score-optimizer", "platon").score_beta == 0.95
    with pytest.raises(InputError, match="--score-beta does not apply to --score-optimizer adam"):
        resolve(config("--score-optimizer", "adam", "--score-beta", "0.9"))


def test_recipes_are_listed(capsys):
    assert cli.main(["recipes"]) == 0
    table = capsys.readouterr().out
    assert cli.main(["recipes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == set(recipes.names())
    for name, recipe in found.items():
        assert name in table and recipe["summary"] in table
    assert "with --teacher: --alpha-ce 0 --alpha-distil 1 --temperature 2" in table
    assert "--prune-every 0.133333" in table and found["gmp"]["options"]["prune_every"] == 4 / 30


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"score_optimizer": "momentum"}, ["--score-optimizer is 'momentum'"]),
        ({"score_optimizer": "platon", "method": "magnitude"}, ["has no scores"]),
        ({"score_optimizer": "platon", "method": "dense", "density": None}, ["has no scores"]),
        ({"score_optimizer": "platon", "method": "l0", "final_lambda": 1.0}, ["not l0"]),
        (
            {"score_optimizer": "platon", "regularization": "l1", "final_lambda": 1.0},
            ["leave out --regularization"],
        ),
        ({"score_optimizer": "platon", "score_learning_rate": 0.1}, ["--score-learning-rate"]),
        ({"score_beta": 0.5}, ["--score-beta does not apply to --score-optimizer adam"]),
        ({"score_optimizer": "platon", "score_beta": 1.0}, ["--score-beta is 1.0", "below 1"]),
        ({"score_optimizer": "platon", "score_beta": -0.5}, ["--score-beta is -0.5", "at least 0"]),
        ({"method": "dense", "density": None, "prune_every": 5}, ["--prune-every does not apply"]),
        ({"method": "dense", "density": None, "scope": "global"}, ["--scope does not apply"]),
        ({"method": "dense", "density": None, "mask_init": "kaiming"}, ["--mask-init does not"]),
        ({"method": "magnitude", "mask_init": "kaiming"}, ["--mask-init does not apply"]),
        ({"prune_every": 0}, ["--prune-every is 0"]),
        ({"first_density": 1.5}, ["--first-density is 1.5"]),
        ({"first_density": 0.05}, ["--first-density 0.05", "below the final density 0.1"]),
        (
            {"method": "soft_movement", "density": None, "final_lambda": 1.0, "first_density": 0.5},
            ["--first-density does not apply to soft_movement"],
        ),
        ({"method": "dense", "density": None, "dense_gradient": True}, ["--dense-gradient"]),
    ],
)
def test_options_without_effect_are_refused(options, parts):
    base = {"model": "m", "task": "sst2", "output": "o", "method": "movement", "density": 0.1}
    with pytest.raises(InputError) as error:
        resolve(TrainConfig(**(base | options)))
    for part in parts:
        assert part in str(error.value)


def test_a_teacher_brings_its_options_and_options_given_override_them():
    alone = config("--recipe", "gmp")
    assert (alone.alpha_ce, alone.alpha_distil, alone.temperature) == (None, None, None)
    made = resolve(config("--recipe", "gmp", "--teacher", "t", "--temperature", "5.5"))
    assert (made.alpha_ce, made.alpha_distil, made.temperature) == (0.0, 1.0, 5.5)
    made = resolve(config("--recipe", "smp", "--teacher", "t"))
    assert (made.alpha_ce, made.alpha_distil, made.temperature) == (0.5, 0.5, 2.0)


def course(name, steps, final):
    """Config of a recipe, its densities by step, the steps that change them, and its rates."""
    base = {"model": "m", "task": "sst2", "output": "o", "density": final}
    made = resolve(recipes.recipe_config(name, **base, steps=steps))
    length, rule = run_length(made, 1), config_rule(made)
    assert rule is not None
    threshold, _ = schedules(optimizer_config(made, length), rule, steps)
    kept = np.asarray(threshold(jnp.arange(steps + 1)))
    rates = np.asarray(make_learning_rates(made, length)(jnp.arange(steps + 1))["learning_rate"])
    return made, kept, np.flatnonzero(np.diff(kept)) + 1, rates


@pytest.mark.parametrize("steps", [120, 179, 300, 1009, 30 * 2105])
@pytest.mark.parametrize("final", [0.03, 0.1])
def test_gmp_cuts_seven_times_by_the_cubic_law_and_restarts_the_rate_at_each(steps, final, x64):
    made, kept, cuts, rates = course("gmp", steps, final)
    assert len(cuts) == 7
    np.testing.assert_allclose(cuts / steps, np.arange(2, 27, 4) / 30, atol=12 / steps)
    law = (1 - final) + (0.7 - (1 - final)) * (1 - np.arange(7) / 6) ** 3
    np.testing.assert_allclose(1 - kept[cuts], law, atol=0.02)
    assert kept[0] == 1 and kept[cuts[-1]] == kept[-1] == final
    assert kept[cuts[0]] == pytest.approx(0.3, abs=1e-15)
    assert [t for t in range(2, steps) if rates[t] > rates[t - 1] and t > made.warmup * steps] == [
        *cuts
    ]
    np.testing.assert_allclose(rates[cuts], 8e-5)
    np.testing.assert_allclose(rates[cuts - 1], 8e-6, atol=7.2e-5 / (cuts[0] / 2))
    assert float(rates[steps]) == pytest.approx(8e-6)


@pytest.mark.parametrize("steps", [120, 1000, 10 * 2105])
def test_gmp10_cuts_twice_an_epoch_from_2_to_8_and_restarts_the_rate_once(steps, x64):
    made, kept, cuts, rates = course("gmp10", steps, 0.1)
    assert len(cuts) == 13 and kept[0] == 1 and kept[cuts[-1]] == kept[-1] == 0.1
    assert kept[cuts[0]] == pytest.approx(0.3, abs=1e-15)
    np.testing.assert_allclose(cuts / steps, np.arange(20, 81, 5) / 100, atol=13 / steps)
    law = 0.9 + (0.7 - 0.9) * (1 - np.arange(13) / 12) ** 3
    np.testing.assert_allclose(1 - kept[cuts], law, atol=0.02)
    risen = [t for t in range(2, steps) if rates[t] > rates[t - 1] and t > made.warmup * steps]
    assert risen == [round(0.8 * steps)]
    np.testing.assert_allclose(rates[risen], 8e-5)
    np.testing.assert_allclose(rates[[risen[0] - 1, -1]], 3e-5, atol=1e-6 + 5e-5 / (steps / 5))


@pytest.mark.parametrize("steps", range(8, 130))
def test_gmp_trains_with_its_final_masks_in_short_runs_too(steps):
    base = {"model": "m", "task": "sst2", "output": "o", "density": 0.1, "steps": steps}
    length = run_length(resolve(recipes.recipe_config("gmp", **base)), 1)
    cuts = range(length.first_cut or 0, steps, length.prune_every)
    assert cuts[-1] >= steps - 8 * length.warmup_steps or length.prune_every == 1


def test_an_unknown_recipe_names_the_known_ones(capsys):
    assert cli.main([*BASE, "--recipe", "magic"]) == 2
    assert (
        "--recipe is 'magic'; choose from gmp, gmp10, platon, published, sensitivity, smp"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--recipe", "smp", "--regularization", "none"],
            "--lambda-ramp does not apply to movement: it has no score penalty (--lambda-ramp "
            "rising is of --recipe smp; give another value, or another recipe)\n",
        ),
        (
            ["--recipe", "smp", "--lambda-ramp", "rising", "--regularization", "none"],
            "it has no score penalty\n",
        ),
        (["--regularization", "l1"], "leave out --regularization\n"),
        (["--recipe", "smp", "--batch-size", "0"], "must be at least 1\n"),
    ],
)
def test_a_refused_option_of_a_recipe_is_said_to_be_of_it(words, text, capsys):
    assert cli.main([*BASE, *words]) == 2
    assert capsys.readouterr().err.endswith(text)


def test_a_recipe_in_python_is_that_of_the_command_line():
    same = {"model": "m", "task": "sst2", "output": "o", "density": 0.1}
    assert recipes.recipe_config("platon", **same) == config("--recipe", "platon")


@pytest.mark.parametrize("warmup", [0, 0.1, 2])
@pytest.mark.parametrize("steps", [*range(7, 60), 85, 100, 120, 500])
def test_cuts_are_as_rare_as_asked_or_as_the_run_allows(steps, warmup):
    """Eight cuts or more in the ramp, one of them after it: an interval that fits no run is 1."""
    base = {"model": "m", "task": "sst2", "output": "o", "density": 0.1, "warmup": warmup}
    made = resolve(recipes.recipe_config("platon", **base, steps=steps))
    rule, length = config_rule(made), run_length(made, 1)
    assert rule is not None
    threshold, _ = schedules(optimizer_config(made, length), rule, steps)
    held = [float(threshold(t)) for t in range(steps)]
    begin, end = length.warmup_steps, steps - 2 * length.warmup_steps

    def fits(every):
        cuts = range(every, steps, every)  # steps at which scores have been set
        inside = [t for t in cuts if begin < t <= end]
        return (end - begin) // every >= 8 <= len(inside) and any(t >= end for t in cuts)

    assert length.prune_every == max([e for e in range(2, 11) if fits(e)], default=1)
    if length.prune_every > 1:
        changes = [t for t in range(1, steps) if held[t] != held[t - 1]]
        assert all(t % length.prune_every == 0 for t in changes) and len(changes) >= 8
        assert held[-1] == float(threshold(steps))
    notes = shortened(made, length)
    expected = f"--prune-every 10 is lowered to {length.prune_every}, to fit a run of {steps} steps"
    expected += "" if length.warmup_steps else " whose ramp goes on to its end"
    assert notes == ([expected] if length.prune_every < 10 else [])


def test_an_interval_that_fits_stays_as_it_is():
    base = {"model": "m", "task": "sst2", "output": "o", "density": 0.1}
    made = recipes.recipe_config("sensitivity", **base, steps=1000, prune_every=87)
    assert run_length(resolve(made), 1).prune_every == 87
    assert run_length(resolve(dataclasses.replace(made, prune_every=88)), 1).prune_every == 87


def test_masks_are_not_held_where_the_ramp_ends_with_the_run():
    base = {"model": "m", "task": "sst2", "output": "o", "density": 0.1, "steps": 600}
    made = resolve(recipes.recipe_config("gmp", **base, warmup=0))
    length = run_length(made, 1)
    assert (length.prune_every, length.lr_cycle) == (1, 80)
    (note,) = shortened(made, length)
    assert note.startswith("--prune-every 0.133333 is lowered to 1") and "to its end" in note
    whole = resolve(recipes.recipe_config("gmp", **base))
    assert shortened(whole, run_length(whole, 1)) == []


@pytest.mark.parametrize(
    ("options", "method", "scope"),
    [
        ({"density": 0.1}, "movement", "global"),
        ({"structure": "2:4"}, "movement", "local"),
        ({"structure": "attention=2:4,ffn=2:4"}, "movement", "local"),
        ({"density": 0.1, "method": "soft_movement"}, "soft_movement", "local"),
        ({"final_lambda": 100.0}, "soft_movement", "local"),
        ({"density": 0.1, "method": "dense"}, "dense", "local"),
    ],
)
def test_a_density_without_a_method_is_the_recommended_recipe(options, method, scope):
    argv = [
        item
        for key, value in options.items()
        for item in (f"--{key.replace('_', '-')}", str(value))
    ]
    parsed = train_config(cli.parse(["train", "--model", "m", "--task", "sst2", *argv]))
    made = recipes.recipe_config(None, model="m", task="sst2", **options)
    assert parsed == made and (made.method, made.scope) == (method, scope)


def test_a_recipe_is_one_of_its_method():
    with pytest.raises(InputError, match="--recipe smp is one of --method movement"):
        recipes.recipe_config("smp", method="l0", density=0.1)


def test_names_are_those_of_the_optimizers():
    [field] = [f for f in dataclasses.fields(TrainConfig) if f.name == "score_optimizer"]
    assert field.metadata["choices"] == score_optimizers.SCORE_OPTIMIZERS
    assert IMPORTANCES == score_optimizers.IMPORTANCES
