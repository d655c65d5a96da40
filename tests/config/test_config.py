"""Options: their defaults, their limits, and what they say when they are wrong."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from mpjax.config.checks import DENSE, methods
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.length import run_length, shortened
from mpjax.config.recipes import recipe_config
from mpjax.config.recorded import as_dict, differences
from mpjax.config.resolve import config_rule, is_steered, resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import write_json
from mpjax.pruning import RULES, cubic_schedule
from mpjax.runs import folder
from mpjax.runs.cache import cache_folder

BASE = {"model": "some/name", "task": "sst2", "output": "run"}
GOOD = [
    {"method": "magnitude", "density": 0.1},
    {"method": "movement", "density": 1.0, "scope": "global"},
    {"method": "movement", "density": 0.1, "regularization": "l1", "final_lambda": 10.0},
    {"method": "movement", "final_threshold": 0.03},
    {"method": "soft_movement", "final_lambda": 100.0},
    {"method": "soft_movement", "density": 0.03},
    {"method": "soft_movement", "final_lambda": 100.0, "prune_every": 0.1},
    {"method": "magnitude", "density": 0.1, "prune_every": 50},
    {"method": "l0", "density": 0.1},
    {"method": "l0", "final_lambda": 100.0},
    {"method": "l0", "density": 0.1, "final_lambda": 100.0},
    {"method": "movement", "density": 0.1, "scope": "type"},
    {"method": "dense"},
    {"method": "dense", "freeze": "weights"},
    {"method": "dense", "freeze": "weights,head", "train_embeddings": True},
    {"method": "magnitude", "density": 0.1, "freeze": "weights"},
    {"method": "movement", "density": 0.1, "freeze": "weights,head"},
    {"method": "movement", "density": 0.1, "freeze": "head", "score_optimizer": "sensitivity"},
]


def test_every_rule_is_a_method_and_the_only_other_one_is_dense():
    assert set(methods()) == {*RULES, DENSE}


@pytest.mark.parametrize("options", GOOD, ids=str)
def test_resolving_gives_a_rule_and_changes_nothing_the_second_time(options):
    config = resolve(TrainConfig(**BASE, **options))
    assert resolve(config) == config
    for name, value in options.items():
        assert getattr(config, name) == value
    rule = config_rule(config)
    if rule is None:
        assert options["method"] == DENSE
        return
    assert (rule.initial, rule.final) == (config.initial_threshold, config.final_threshold)
    assert rule.is_steered == (rule.has_penalty and config.final_lambda is None)
    scope = "global" if rule.is_steered and rule.is_density else options.get("scope", "local")
    assert (rule.name, rule.scope) == (options["method"], scope)
    if "density" in options:
        assert rule.final_density == options["density"]


def test_what_is_not_said_is_what_the_rule_says():
    config = resolve(TrainConfig(**BASE, method="l0", final_lambda=1.0))
    assert config.score_learning_rate == RULES["l0"].default_score_learning_rate
    assert config.mask_scale == RULES["l0"].default_score_scale
    assert resolve(TrainConfig(**BASE, final_lambda=1.0)).score_learning_rate == 1e-2


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"model": ""}, ["--model", "missing"]),
        ({"task": "sst"}, ["--task", "'sst'", "sst2"]),
        ({"output": ""}, ["--output", "missing"]),
        ({"method": "move"}, ["--method", "'move'", "movement", "dense"]),
        ({"method": "movement"}, ["movement", "--density"]),
        ({"method": "movement", "density": 0.0}, ["--density is 0.0", "fraction"]),
        ({"method": "movement", "density": 1.01}, ["--density", "1.01"]),
        ({"method": "movement", "density": float("nan")}, ["--density", "nan"]),
        ({"method": "magnitude", "density": -0.1}, ["--density", "-0.1"]),
        (
            {"density": 0.1, "final_lambda": 100.0},
            ["--density and --final-lambda", "soft_movement", "give one of them"],
        ),
        ({}, ["soft_movement", "--final-lambda"]),
        ({"method": "l0"}, ["l0", "--density", "--final-lambda"]),
        ({"method": "movement", "density": 0.1, "final_lambda": 1.0}, ["--final-lambda"]),
        ({"method": "magnitude", "density": 0.1, "final_lambda": 1.0}, ["--final-lambda"]),
        (
            {"method": "movement", "density": 0.1, "regularization": "l1"},
            ["movement", "--final-lambda"],
        ),
        ({"method": "magnitude", "density": 0.1, "mask_scale": 1.0}, ["--mask-scale"]),
        (
            {"method": "l0", "density": 0.1, "first_density": 0.3},
            ["--first-density does not apply to l0: its density is steered"],
        ),
        (
            {"method": "l0", "density": 0.1, "initial_threshold": 0.5},
            ["--initial-threshold does not apply to l0: its density is steered"],
        ),
        (
            {"method": "magnitude", "structure": "2:4", "first_density": 0.3},
            ["--first-density 0.3 is below the final density 0.5"],
        ),
        (
            {"method": "l0", "density": 0.1, "continue_with": "final-lambda=5"},
            ["--continue-with final-lambda does not apply", "leave it out"],
        ),
        ({"method": "magnitude", "density": 0.1, "teacher": ""}, ["--teacher is empty"]),
        ({"method": "magnitude", "density": 0.1, "data": ""}, ["--data is empty"]),
        ({"method": "dense", "density": 0.1}, ["--density", "dense"]),
        ({"final_lambda": 1.0, "scope": "global"}, ["--scope", "global", "local"]),
        ({"final_lambda": 1.0, "scope": "all"}, ["--scope", "'all'", "global"]),
        ({"final_lambda": -1.0}, ["--final-lambda", "-1.0"]),
        ({"final_lambda": 1.0, "final_threshold": 1.5}, ["1.5", "--final-threshold"]),
        (
            {"method": "movement", "density": 0.1, "final_threshold": 0.2},
            ["--density", "--final-threshold"],
        ),
        ({"final_lambda": 1.0, "epochs": 0.0}, ["--epochs"]),
        ({"final_lambda": 1.0, "epochs": float("inf")}, ["--epochs"]),
        ({"final_lambda": 1.0, "steps": 0}, ["--steps"]),
        ({"final_lambda": 1.0, "batch_size": 0}, ["--batch-size"]),
        ({"final_lambda": 1.0, "learning_rate": -1e-5}, ["--learning-rate"]),
        ({"final_lambda": 1.0, "learning_rate": float("nan")}, ["--learning-rate"]),
        ({"final_lambda": 1.0, "warmup": -1.0}, ["--warmup"]),
        ({"final_lambda": 1.0, "warmup": 10.5}, ["--warmup", "10.5"]),
        ({"final_lambda": 1.0, "initial_warmup": -1.0}, ["--initial-warmup"]),
        ({"final_lambda": 1.0, "lr_cycle": 2.5}, ["--lr-cycle", "2.5", "whole steps"]),
        ({"final_lambda": 1.0, "lr_cycle": 0.0}, ["--lr-cycle is 0.0"]),
        ({"final_lambda": 1.0, "lr_start": 0.5}, ["--lr-start", "--lr-cycle, which is missing"]),
        ({"final_lambda": 1.0, "lr_cycle": 5, "lr_start": -1}, ["--lr-start is -1"]),
        ({"final_lambda": 1.0, "lr_cycle": float("inf")}, ["--lr-cycle is inf"]),
        ({"final_lambda": 1.0, "prune_every": 2.5}, ["--prune-every", "2.5", "whole steps"]),
        ({"final_lambda": 1.0, "prune_every": -0.5}, ["--prune-every is -0.5"]),
        ({"method": "dense", "prune_every": 5}, ["--prune-every", "dense"]),
        (
            {"density": 0.1, "regularization": "l0"},
            ["--regularization l0", "soft_movement", "--density"],
        ),
        (
            {"method": "soft_movement", "density": 0.1, "first_density": 0.5},
            ["--first-density", "steered"],
        ),
        (
            {"method": "l0", "density": 0.1, "lambda_ramp": "rising"},
            ["--lambda-ramp", "l0", "steered"],
        ),
        ({"final_lambda": 1.0, "lr_floor": -1e-5}, ["--lr-floor is -1e-05"]),
        ({"final_lambda": 1.0, "lr_floor": 3e-5}, ["--lr-floor 3e-05", "--learning-rate 3e-05"]),
        ({"final_lambda": 1.0, "scope": "type"}, ["--scope type", "soft_movement"]),
        ({"method": "magnitude", "density": 0.1, "scope": "type"}, ["--scope type", "magnitude"]),
        (
            {"method": "movement", "density": 0.1, "scope": "type", "published_cut": True},
            ["--published-cut", "--scope global"],
        ),
        (
            {"method": "movement", "density": 0.1, "lambda_ramp": "rising"},
            ["--lambda-ramp", "movement", "penalty"],
        ),
        ({"method": "dense", "lambda_ramp": "rising"}, ["--lambda-ramp", "dense"]),
        ({"final_lambda": 1.0, "lambda_ramp": "down"}, ["--lambda-ramp", "'down'", "rising"]),
        ({"final_lambda": 1.0, "freeze": "body"}, ["--freeze body", "weights,head"]),
        ({"final_lambda": 1.0, "freeze": ""}, ["--freeze", "weights,head"]),
        ({"method": "dense", "freeze": "weights,head"}, ["--freeze", "nothing to train", "dense"]),
        (
            {"method": "magnitude", "density": 0.1, "freeze": "head, weights"},
            ["--freeze", "nothing to train", "magnitude"],
        ),
        ({"final_lambda": 1.0, "seed": -1}, ["--seed"]),
        ({"final_lambda": 1.0, "seed": 2**32}, ["--seed", "4294967295"]),
        ({"final_lambda": 1.0, "dtype": "float16"}, ["--dtype", "bfloat16"]),
        ({"final_lambda": 1.0, "data": "/not/here"}, ["--data", "/not/here"]),
        ({"learning_rate": []}, ["--learning-rate is []", "give a number"]),
        ({"structure": []}, ["--structure is []", "give text"]),
        ({"final_lambda": "1"}, ["--final-lambda is '1'", "give a number"]),
        ({"steps": 6.0}, ["--steps is 6.0", "give a whole number"]),
        ({"steps": True}, ["--steps is True", "give a whole number"]),
        ({"tensorboard": 1}, ["--tensorboard is 1", "give true or false"]),
        ({"fill_from": 3}, ["--fill-from is 3", "give text"]),
        ({"model": None}, ["--model is None", "give text"]),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(options, parts):
    with pytest.raises(InputError) as error:
        resolve(TrainConfig(**(BASE | options)))
    for part in parts:
        assert part in str(error.value)


def test_numbers_of_an_evaluation_are_numbers():
    with pytest.raises(InputError, match="--limit is '8'; give a whole number"):
        EvaluateConfig(model="m", limit="8")  # pyright: ignore[reportArgumentType]


def test_paths_become_text(tmp_path):
    given = BASE | {"output": str(tmp_path / "run"), "final_lambda": 1.0}
    paths = {name: Path(given[name]) for name in ("model", "output")}
    assert resolve(TrainConfig(**(given | paths))) == resolve(TrainConfig(**given))
    scored = EvaluateConfig(model=Path("m"), data=Path("d"))  # pyright: ignore[reportArgumentType]
    assert scored == EvaluateConfig(model="m", data="d")


def test_wrong_numbers_are_found_without_importing_jax():
    code = (
        "import sys; from mpjax.config.resolve import resolve\n"
        "from mpjax.config.train import TrainConfig\n"
        "try: resolve(TrainConfig(model='m', task='sst2', output='o', density=2.0))\n"
        "except ValueError: sys.exit('jax' in sys.modules or 'numpy' in sys.modules)\n"
        "sys.exit('no error')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_plan_is_refused_exactly_where_the_schedule_has_no_ramp():
    refused = 0
    for total in (1, 5, 10, 30):
        for warmup in (0, 1, 3, 10):
            for initial, final in ((0, 0), (1, 2), (0.5, 0.5), (3, 7)):
                config = TrainConfig(
                    method="movement", steps=total, warmup=warmup,
                    initial_warmup=initial, final_warmup=final,
                )  # fmt: skip
                fits = warmup <= total
                try:
                    cubic_schedule(1.0, 0.1, total, warmup, initial, final)
                except ValueError:
                    fits = False
                if fits:
                    assert run_length(config, 1).total_steps == total
                    continue
                refused += 1
                with pytest.raises(InputError, match="--warmup"):
                    run_length(config, 1)
                assert run_length(dataclasses.replace(config, method="dense", warmup=0), 1)
    assert refused > 10


def test_the_warm_up_that_the_message_proposes_fits_and_the_next_does_not():
    config = TrainConfig(method="movement", steps=100, warmup=50)
    with pytest.raises(InputError, match=r"\(--initial-warmup 1 \+ --final-warmup 2\) x 50") as e:
        run_length(config, 1)
    proposed = int(str(e.value).split("at most ")[1].split()[0])
    assert run_length(dataclasses.replace(config, warmup=proposed), 1).warmup_steps == proposed
    with pytest.raises(InputError):
        run_length(dataclasses.replace(config, warmup=proposed + 1), 1)


@pytest.mark.parametrize("total", [1, 2, 6, 47, 100])
@pytest.mark.parametrize(("initial", "final"), [(0, 0), (1, 2), (0.5, 0.5), (3, 7)])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3, 0.5, 0.99])
def test_a_warmup_that_is_a_fraction_always_fits(total, initial, final, warmup):
    config = TrainConfig(method="movement", steps=total, warmup=warmup, initial_warmup=initial,
                         final_warmup=final)  # fmt: skip
    length = run_length(config, 1)
    cubic_schedule(1.0, 0.1, total, length.warmup_steps, initial, final)
    asked = int(warmup * total)
    assert length.warmup_steps <= asked
    if length.warmup_steps == asked:
        assert not shortened(config, length)
        return
    with pytest.raises(ValueError, match="no room"):
        cubic_schedule(1.0, 0.1, total, length.warmup_steps + 1, initial, final)
    assert shortened(config, length) == [
        f"--warmup {warmup:g} ({asked} steps) is lowered to {length.warmup_steps} steps, "
        f"to fit a run of {total} steps"
    ]


def test_warmup_below_one_is_a_fraction_and_epochs_count_steps():
    assert run_length(TrainConfig(method="dense", epochs=1.5, warmup=0.25), 10).total_steps == 15
    assert run_length(TrainConfig(method="dense", epochs=1.5, warmup=0.25), 10).warmup_steps == 3
    assert run_length(TrainConfig(method="dense", steps=7, epochs=9, warmup=2), 10).total_steps == 7


@pytest.mark.parametrize(("given", "steps"), [(None, None), (7, 7), (0.126, 13), (1e-9, 1)])
def test_a_cycle_below_one_is_a_fraction_of_the_run(given, steps):
    config = TrainConfig(method="dense", steps=100, lr_cycle=given)
    assert run_length(config, 1).lr_cycle == steps


def test_a_first_cycle_begins_within_the_run():
    config = TrainConfig(method="dense", steps=100, lr_cycle=10, lr_start=0.8)
    assert run_length(config, 1).lr_start == 80
    with pytest.raises(InputError, match="--lr-start 100 is no step of a run of 100"):
        run_length(dataclasses.replace(config, lr_start=100), 1)


@pytest.mark.parametrize("total", [40, 97, 240, 1001])
@pytest.mark.parametrize("share", [0.5, 0.2, 0.07])
@pytest.mark.parametrize("warmups", [(1.0, 2.0), (3.5, 0.5), (0.0, 1.5)])
def test_a_fraction_gives_cuts_from_the_start_of_the_ramp_to_its_end(total, share, warmups):
    config = TrainConfig(
        method="movement", steps=total, warmup=0.1, prune_every=share, lr_cycle=share,
        initial_warmup=warmups[0], final_warmup=warmups[1],
    )  # fmt: skip
    length = run_length(config, 1)
    start, end = (warmups[0] * length.warmup_steps, total - warmups[1] * length.warmup_steps)
    assert length.first_cut is not None and 0 <= length.first_cut - start < 1
    intervals = round((end - length.first_cut) / (share * total)) or 1
    last = length.first_cut + intervals * length.prune_every
    assert end <= last < end + intervals
    assert length.lr_cycle == length.prune_every
    whole = run_length(dataclasses.replace(config, prune_every=3, lr_cycle=0.5), 1)
    assert (whole.prune_every, whole.first_cut, whole.lr_cycle) == (3, None, round(total / 2))


def test_differences_name_options_that_matter_and_no_others():
    then = TrainConfig(**BASE, final_lambda=1.0)
    now = dataclasses.replace(then, output="x", checkpoint_every=7, cache="none", seed=3)
    assert differences(as_dict(now), as_dict(then)) == ["--seed was 0, now 3"]
    older = as_dict(then)
    del older["dtype"]  # a run of a version that did not have the option
    assert differences(as_dict(then), older) == []  # it computed as the default does
    assert differences({**as_dict(then), "dtype": "bfloat16"}, older) == [
        "--dtype was float32, now bfloat16"
    ]


def test_local_paths_become_absolute_and_hub_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    config = resolve(TrainConfig(model="m", task="sst2", data="m", output="o", final_lambda=1.0))
    assert [config.model, config.data, config.output] == [str(tmp_path / n) for n in "mmo"]
    config = resolve(TrainConfig(**BASE, data="hub", final_lambda=1.0))
    assert (config.model, config.data) == ("some/name", "hub")


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    for name in ("MPJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mpjax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "mpjax"
    monkeypatch.setenv("MPJAX_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(str(tmp_path / "said")) == tmp_path / "said"
    assert cache_folder("none") is None
    monkeypatch.setenv("MPJAX_CACHE", "none")
    assert cache_folder() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "movement", "density": 0.1},
        {"method": "l0", "density": 0.1, "scope": "global"},
        {"method": "dense"},
    ],
)
def test_published_cut_is_for_global_magnitude_and_movement(changes):
    config = TrainConfig(model="m", task="sst2", output="o", published_cut=True, **changes)
    with pytest.raises(InputError, match="--published-cut"):
        resolve(config)
    good = TrainConfig(
        model="m", task="sst2", output="o", published_cut=True,
        method="movement", density=0.1, scope="global",
    )  # fmt: skip
    assert config_rule(resolve(good)).published_cut
    assert not config_rule(resolve(dataclasses.replace(good, published_cut=False))).published_cut


def test_tensorboard_without_its_package(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'mpjax\[tensorboard\]'"):
        resolve(TrainConfig(**BASE, final_lambda=1.0, tensorboard=True))


def test_options_that_mean_something_else_now_end_an_unfinished_run(tmp_path):
    now = resolve(TrainConfig(**BASE, method="movement", density=0.1, scope="global"))
    now = dataclasses.replace(now, structure="heads", prune_every=4, output=str(tmp_path / "run"))
    then = {k: v for k, v in as_dict(now).items() if k != "lr_cycle"}
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "config.json", {**then, "derived": {}})
    with pytest.raises(InputError, match="counted scores, and counts weights now; masks of"):
        folder.check(now)
    write_json(tmp_path / "run" / "result.json", {})
    assert folder.check(now).read_result() == {}
    write_json(tmp_path / "run" / "config.json", {**as_dict(now), "derived": {}})
    assert folder.check(now)


def test_an_old_l0_run_says_how_it_goes_on():
    now = resolve(TrainConfig(**BASE, method="l0", density=0.1))
    found = differences(as_dict(now), {**as_dict(now), "final_lambda": 0.0})
    assert any("--final-lambda 0 to continue" in line for line in found)


def test_a_group_of_runs_beside_single_weights_is_no_density():
    options = {"structure": "attention=2:4", "density": 0.1}
    assert resolve(recipe_config(None, **BASE, **options)).scope == "global"
    assert is_steered(TrainConfig(**BASE, **options, method="l0"))


def test_a_penalty_whose_density_is_given_lacks_only_its_weight():
    options = {"method": "movement", "density": 0.1, "regularization": "l1"}
    with pytest.raises(InputError, match="--method movement needs --final-lambda, the weight"):
        resolve(TrainConfig(**BASE, **options))
