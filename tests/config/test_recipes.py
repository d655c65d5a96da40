"""Recipes: found by file, overridden by options, refused where they have no effect."""

import dataclasses
import json

import pytest

from mpjax import cli
from mpjax.cli.arguments import train_config
from mpjax.config import recipes
from mpjax.config.length import run_length
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


@pytest.mark.parametrize("steps", range(1, 60))
def test_held_masks_are_trained_with_at_the_final_density_or_refused(steps):
    """Refused too where the run is shorter than an interval, in which no score would be set."""
    base = {"model": "m", "task": "sst2", "output": "o", "density": 0.1, "warmup": 2}
    made = resolve(recipes.recipe_config("platon", **base, steps=steps))
    rule = config_rule(made)
    assert rule is not None
    cuts = range(10, steps, 10)  # steps at which scores have been set
    try:
        length = run_length(made, 1)
    except InputError as error:
        assert "--warmup" in str(error) or (
            "--prune-every 10 does not fit" in str(error) and all(t < steps - 4 for t in cuts)
        )
        return
    threshold, _ = schedules(optimizer_config(made, length), rule, steps)
    assert any(float(threshold(t)) == float(threshold(steps)) for t in cuts)


def test_names_are_those_of_the_optimizers():
    [field] = [f for f in dataclasses.fields(TrainConfig) if f.name == "score_optimizer"]
    assert field.metadata["choices"] == score_optimizers.SCORE_OPTIMIZERS
    assert IMPORTANCES == score_optimizers.IMPORTANCES
