"""Runs of the comparison: options, names of folders, refusals, the command of a dry run."""

import dataclasses
import shlex

import pytest

from experiments.recipes import launch
from experiments.recipes.__main__ import main
from mpjax import cli
from mpjax.cli.arguments import train_config
from mpjax.config import recipes
from mpjax.config.resolve import resolve

BASE = launch.Launch("sst2", "sensitivity", "m", "SST-2", "out", density=0.1)
WORDS = ["--model", "m", "--data", "my data", "--output", "out", "--dry-run"]


def printed(capsys, *words) -> list[str]:
    """Words of the command that a dry run prints."""
    assert main(["run", *words, *WORDS]) == 0
    return [word for word in shlex.split(capsys.readouterr().out) if word != "\n"]


def refused(capsys, *words) -> str:
    assert main(["run", *words, *WORDS]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.fixture(autouse=True)
def trains_nothing(monkeypatch):
    monkeypatch.setattr(cli, "main", None)


@pytest.mark.parametrize("task", launch.TASKS)
@pytest.mark.parametrize("recipe", ["sensitivity", "platon", "dense", "magnitude", "movement"])
def test_a_dry_run_prints_a_command_with_the_settings_of_the_task(
    task, recipe, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    density = [] if recipe == "dense" else ["--density", "0.1"]
    command = printed(capsys, task, recipe, *density, "--seed", "2")
    assert command[0] == "mpjax" and not list(tmp_path.iterdir())
    made = train_config(cli.parse(command[1:]))
    assert resolve(dataclasses.replace(made, data=None)).density == (0.1 if density else None)
    named = recipe if recipe in recipes.names() else None
    given = {} if named else {"method": recipe}
    assert made == recipes.recipe_config(
        named, **given, **launch.TASKS[task], model="m", task=task, data="my data", seed=2,
        output=made.output, density=0.1 if density else None, batch_size=32,
    )  # fmt: skip
    assert made.output == f"out/{task}-{recipe}{'-10' if density else ''}-seed2"


def test_options_override_the_recipe_and_the_task(capsys):
    changes = ["--set", "learning-rate=1e-4", "--set", "max_length=32", "--limit-train", "99"]
    command = printed(capsys, "sst2", "platon", "--density", "0.03", *changes)
    made = train_config(cli.parse(command[1:]))
    assert (made.learning_rate, made.max_length, made.limit_train) == (1e-4, 32, 99)
    assert made.score_optimizer == "platon" and "--recipe" in command
    assert (
        made.output == "out/sst2-platon-3-limit-train-99-learning-rate-0.0001-max-length-32-seed0"
    )


@pytest.mark.parametrize("off", [[], ["--set", "dense_gradient=false"]])
@pytest.mark.parametrize("recipe", ["sensitivity", "gmp"])
def test_steps_stand_for_the_epochs_of_the_task_and_the_recipe(recipe, off, capsys):
    command = printed(capsys, "sst2", recipe, "--density", "0.1", "--set", "steps=60", *off)
    assert "--epochs" not in command
    assert train_config(cli.parse(command[1:])).steps == 60


def test_a_switch_is_turned_off_by_writing_the_recipe_out(capsys):
    words = ["sst2", "sensitivity", "--density", "0.1", "--set", "dense_gradient=false"]
    command = printed(capsys, *words, "--set", "clip=0")
    assert "--recipe" not in command and "--dense-gradient" not in command
    made = train_config(cli.parse(command[1:]))
    assert made.clip == 0.0 and not made.dense_gradient
    for name, value in recipes.get("sensitivity").options.items():
        assert getattr(made, name) == value or name == "dense_gradient"


def test_every_run_has_a_folder_of_its_own():
    others = [
        {"task": "rte"}, {"recipe": "platon"}, {"density": 0.03}, {"density": 0.005}, {"seed": 1},
        {"limit_train": 100}, {"changes": {"clip": 0.5}}, {"changes": {"clip": 0.25}}, {},
    ]  # fmt: skip
    names = [dataclasses.replace(BASE, **change).name for change in others]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["sst3", "dense"], "TASK is 'sst3'"),
        (["sst2", "magic"], "RECIPE is 'magic'"),
        (["sst2", "magnitude"], "needs --density"),
        (["sst2", "dense", "--density", "0.1"], "--density does not apply to dense"),
        (["sst2", "dense", "--set", "learning_rte=1"], "did you mean learning_rate"),
        (["sst2", "dense", "--set", "learning_rate"], "write option=value"),
        (["sst2", "dense", "--set", "learning_rate=fast"], "fast"),
        (["sst2", "dense", "--set", "remat=maybe"], "write true or false"),
        (["sst2", "dense", "--set", "seed=3"], "decided by the arguments"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(words, part, capsys):
    assert part in refused(capsys, *words)


def test_without_dry_run_the_printed_command_is_run(monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(cli, "main", lambda words: ran.append(words) or 0)
    words = ["sst2", "sensitivity", "--density", "0.1"]
    command = printed(capsys, *words)
    assert main(["run", *words, *WORDS[:-1]]) == 0
    assert ["mpjax", *ran[0]] == command
    assert capsys.readouterr().out == ""  # left to the result
