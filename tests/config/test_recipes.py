"""Recipes: found by file, overridden by options, refused where they have no effect."""

import dataclasses
import json

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
from mpjax.training.build import optimizer_config

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


def test_recipes_are_listed(capsys):
    assert cli.main(["recipes"]) == 0
    table = capsys.readouterr().out
    assert cli.main(["recipes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == set(recipes.names())
    for name, recipe in found.items():
        assert name in table and recipe["summary"] in table


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"score_optimizer": "momentum"}, ["--score-optimizer is 'momentum'"]),
        ({"score_optimizer": "platon", "method": "magnitude"}, ["has no scores"]),
        ({"score_optimizer": "platon", "method": "dense", "density": None}, ["has no scores"]),
        ({"score_optimizer": "platon", "method": "l0", "final_lambda": 1.0}, ["not l0"]),
        (
            {"score_optimizer": "platon", "regularization": "l1", "final_lambda": 1.0},
            ["not movement with a penalty"],
        ),
        ({"score_optimizer": "platon", "score_learning_rate": 0.1}, ["--score-learning-rate"]),
        ({"method": "dense", "density": None, "prune_every": 5}, ["--prune-every does not apply"]),
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


def test_an_unknown_recipe_names_the_known_ones(capsys):
    assert cli.main([*BASE, "--recipe", "magic"]) == 2
    assert "--recipe is 'magic'; choose from platon" in capsys.readouterr().err


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
    assert notes == ([expected] if length.prune_every < 10 else [])


def test_an_interval_that_fits_stays_as_it_is():
    base = {"model": "m", "task": "sst2", "output": "o", "density": 0.1}
    made = recipes.recipe_config("sensitivity", **base, steps=1000, prune_every=87)
    assert run_length(resolve(made), 1).prune_every == 87
    assert run_length(resolve(dataclasses.replace(made, prune_every=88)), 1).prune_every == 87


def test_names_are_those_of_the_optimizers():
    [field] = [f for f in dataclasses.fields(TrainConfig) if f.name == "score_optimizer"]
    assert field.metadata["choices"] == score_optimizers.SCORE_OPTIMIZERS
    assert IMPORTANCES == score_optimizers.IMPORTANCES
