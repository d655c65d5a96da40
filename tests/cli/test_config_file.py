"""`--config`: options of a file are as good as words, and words override them."""

import json
import logging
from pathlib import Path

import pytest
import tiny

from mpjax import cli
from mpjax.cli.parsing.recorded import as_given
from mpjax.cli.parsing.yaml_file import read_options
from mpjax.config.recipes import recipe_config
from mpjax.config.recorded import as_dict
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

pytestmark = pytest.mark.usefixtures("programs")


def file(tmp_path, text, name="run.yaml"):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return str(path)


def refused(argv, capsys):
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert captured.out == "" and line.startswith("mpjax: error: ")
    return line


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
def test_a_file_says_what_words_say(name, tmp_path):
    options = {"density": 0.1, "batch_size": 8, "mesh": "data=2", "remat": True,
               "learning-rate": 1, "plugin": ["one", "two"], "teacher": None}  # fmt: skip
    text = json.dumps(options)  # which is YAML too
    args = cli.parse(["train", "--config", file(tmp_path, text, name)])
    words = ["train", "--density", "0.1", "--batch-size", "8", "--mesh", "data=2", "--remat",
             "--learning-rate", "1", "--plugin", "one", "--plugin", "two"]  # fmt: skip
    expected = cli.parse(words)
    assert vars(args) | {"config": None} == vars(expected) | {"given": args.given}
    assert args.given == expected.given | {"config"}


def test_words_override_the_file(tmp_path):
    text = "density: 0.1\nplugin: a.b\nremat: true\nscope: global\n"
    words = ["--density=0.2", "--plugin", "c", "--no-remat"]
    args = cli.parse(["train", *words, "--config", file(tmp_path, text)])
    assert (args.density, args.plugin, args.remat, args.scope) == (0.2, "c", False, "global")


def test_yaml_has_no_surprises(tmp_path):
    text = (
        "structure: 2:4\nlearning_rate: 3e-5\ntask: no\ndata: 2020-01-01\nseed: 010\n"
        "density: .5\nwarmup: 1\nlabel: ~\nmetric:\nmodel: '1'\nfreeze: on\n"
    )
    args = cli.parse(["train", "--config", file(tmp_path, text)])
    assert (args.structure, args.learning_rate, args.task) == ("2:4", 3e-5, "no")
    assert (args.data, args.seed, args.density, args.warmup) == ("2020-01-01", 10, 0.5, 1.0)
    assert (args.label, args.metric, args.model, args.freeze) == (None, None, "1", "on")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("densty: 0.1", ["densty", "did you mean density?"]),
        ("recipes: x", ["recipes", "did you mean recipe?"]),
        ("help: true", ["help is no option"]),
        ("config: x", ["config is no option"]),
        ("density: high", ["density is 'high'; give a number"]),
        ("density: true", ["density is True; give a number"]),
        ("seed: 1.5", ["seed is 1.5; give a whole number"]),
        ("remat: 1", ["remat is 1; give true or false"]),
        ("task: 3", ["task is 3; give text"]),
        ("task: {a: b}", ["task is {'a': 'b'}; give text"]),
        ("plugin: [[a]]", ["plugin", "give texts or numbers"]),
        ("epochs:", ["epochs is None; give a number"]),
        ("epochs: 2\nsteps: 60", ["steps and epochs are both the length of the run"]),
        ("scope: all", ["scope is 'all'; choose from local, global, type"]),
        ("a: 1\n  b: 2", ["line 2: not YAML"]),
        ("seed: 1\nseed: 2", ["line 2", "seed is there twice"]),
        ("learning_rate: 1\nlearning-rate: 2", ["learning-rate is there twice"]),
        ("a: &x [1]\nb: *x", ["a reference with *"]),
        ("- density", ["holds list; give a mapping"]),
        ("", ["holds NoneType; give a mapping"]),
        ("1: 2", ["names that are no text"]),
        ("? [a]\n: 1", ["not YAML"]),
        ("task: !!python/object/apply:os.getcwd []", ["not YAML"]),
        ("task: " + "[" * 3000, ["run.yaml"]),
        ("task: \x07", ["not YAML"]),
    ],
)
def test_a_mistake_names_file_and_key(text, parts, tmp_path, capsys):
    message = refused(["train", "--config", file(tmp_path, text)], capsys)
    for part in ("--config", "run.yaml", *parts):
        assert part in message


def test_a_file_that_is_not_there_and_one_of_other_bytes(tmp_path, capsys):
    assert "no.yaml cannot be read" in refused(
        ["train", "--config", str(tmp_path / "no.yaml")], capsys
    )
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert "b.yaml: not YAML" in refused(["train", "--config", str(tmp_path / "b.yaml")], capsys)
    assert "bad.json" in refused(["train", "--config", file(tmp_path, "{", "bad.json")], capsys)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_takes_a_file(command, tmp_path, capsys):
    message = refused([command, "--config", file(tmp_path, "nonsense: 1")], capsys)
    assert "nonsense is no option of this command" in message


def test_places_stand_in_a_file_too_and_are_missed_without(tmp_path, capsys):
    path = file(tmp_path, "model: runs/ten\noutput: small")
    args = cli.parse(["shrink", "--config", path])
    assert (args.model, args.output) == ("runs/ten", "small")
    assert cli.parse(["shrink", "other", "--config", path]).model == "other"
    message = refused(["shrink", "--config", file(tmp_path, "output: small")], capsys)
    assert "arguments are required: RUN_OR_MODEL" in message


def test_a_sweep_takes_lists_and_single_numbers(tmp_path):
    path = file(tmp_path, "density: [0.1, 0.05]\nseeds: 3\n")
    args = cli.parse(["sweep", "--config", path])
    assert (args.density, args.seeds) == ("0.1,0.05", "3")


CONFIGS = [
    {"density": 0.1},
    {"method": "soft_movement", "density": 0.1},
    {"method": "soft_movement", "final_lambda": 10.0},
    {"method": "l0", "density": 0.2},
    {"method": "movement", "density": 0.3, "scope": "global"},
    {"method": "movement", "density": 0.3, "final_threshold": 0.3},
    {"method": "magnitude", "density": 0.3, "initial_threshold": 0.9},
    {"method": "dense"},
    {"structure": "2:4"},
    {"recipe": "gmp", "density": 0.1},
    {"density": 0.1, "teacher": "lab/bert"},
    {"density": 0.1, "report_to": "tensorboard", "tensorboard": True},
]


def test_epochs_stand_for_the_steps_of_a_file(tmp_path):
    from mpjax.cli.arguments import train_config

    path = file(tmp_path, "model: m\ntask: sst2\noutput: o\nmethod: dense\nsteps: 3")
    assert train_config(cli.parse(["train", "--config", path])).steps == 3
    config = train_config(cli.parse(["train", "--config", path, "--epochs", "5"]))
    assert (config.epochs, config.steps) == (5.0, None)


def test_a_record_says_only_what_was_given(tmp_path):
    """Other commands have other defaults, and the model of `--fill-from` follows from it again."""
    from mpjax.cli.arguments import train_config

    (tmp_path / "d.csv").write_text("text,label\n")
    data = str(tmp_path / "d.csv")
    common = {"model": "m", "task": "classification", "data": data, "output": "o"}
    record = as_dict(resolve(TrainConfig(**common, method="dense"))) | {"derived": {}}
    path = file(tmp_path, record, "config.json")
    args = cli.parse(["evaluate", "--config", path, "--model", "runs/ten"])
    assert args.dev_share is None and args.split_seed is None and args.batch_size != 32
    args = cli.parse(["evaluate", "--config", path, "--model", "m", "--dev-share", "0.5"])
    assert args.dev_share == 0.5
    record = as_dict(TrainConfig(**common | {"model": "A"}, fill_from="A", method="dense"))
    path = file(tmp_path, record | {"derived": {}}, "config.json")
    assert train_config(cli.parse(["train", "--config", path, "--fill-from", "B"])).model == ""
    record = as_dict(
        resolve(
            TrainConfig(
                **common, method="movement", density=0.1, regularization="l1", final_lambda=3.0
            )
        )
    )
    path = file(tmp_path, record | {"derived": {}}, "config.json")
    planned = cli.parse(["plan", "--config", path, "--topology", "v5e:4x4"])
    assert planned.regularization == "l1"


@pytest.mark.parametrize("options", CONFIGS, ids=str)
def test_the_record_of_a_run_is_the_run_again_and_takes_another_density(options, tmp_path):
    common = {"model": "lab/bert", "task": "sst2", "output": str(tmp_path / "run")}
    recipe = options.get("recipe")
    given = {name: value for name, value in options.items() if name != "recipe"}
    config = resolve(recipe_config(recipe, **common, **given))
    assert resolve(config) == config
    record = as_dict(config) | {"derived": {"total_steps": 3}}
    again = as_given(record)
    assert resolve(TrainConfig(**{k: v for k, v in again.items() if v is not None})) == config
    path = file(tmp_path, record, "config.json")
    from mpjax.cli.arguments import train_config

    assert resolve(train_config(cli.parse(["train", "--config", path]))) == config
    if options.get("density") and "final_threshold" not in options:
        other = train_config(cli.parse(["train", "--config", path, "--density", "0.07"]))
        assert resolve(other).density == 0.07
    if "initial_threshold" in options:
        assert again["initial_threshold"] == 0.9  # it was given


def test_a_record_for_another_command_leaves_out_what_it_does_not_have(tmp_path, caplog):
    record = as_dict(TrainConfig(model="m", task="sst2", output="o", seed=4)) | {"derived": {}}
    logger = logging.getLogger("mpjax")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    try:
        path = file(tmp_path, record, "config.json")
        args = cli.parse(["evaluate", "--config", path, "--model", "runs/ten"])
    finally:
        logger.removeHandler(caplog.handler)
    assert (args.model, args.task) == ("runs/ten", "sst2")
    assert "left out" in caplog.text and "seed" in caplog.text


@pytest.mark.slow
def test_a_record_leaves_nothing_to_a_recipe(tmp_path, capsys):
    record = as_dict(TrainConfig(model="m", task="sst2", output="o")) | {"derived": {}}
    path = file(tmp_path, record, "config.json")
    line = refused(["train", "--config", path, "--recipe", "gmp"], capsys)
    assert f"--recipe gmp beside --config {path}: the file of a run" in line


def test_a_run_from_a_file_is_the_run_from_words(tmp_path, capsys):
    words = tiny.command(tmp_path, output=str(tmp_path / "one"))
    assert cli.main(words) == 0
    path = str(tmp_path / "one" / "config.json")
    assert cli.main(["train", "--config", path, "--output", str(tmp_path / "two")]) == 0
    assert tiny.same(tmp_path / "one", tmp_path / "two")


def test_json_is_read_as_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"task": "a"}')
    assert read_options(path) == {"task": "a"}


def test_a_file_without_end_is_no_config():
    with pytest.raises(InputError, match=r"/dev/zero has more than 1,048,576 bytes of options"):
        read_options(Path("/dev/zero"))


def test_the_start_of_the_scores_follows_from_the_method_again(tmp_path):
    from mpjax.cli.arguments import train_config

    common = {"model": "lab/bert", "task": "sst2", "output": str(tmp_path / "run")}
    derived = {"derived": {"total_steps": 3}}
    run = resolve(TrainConfig(**common, method="soft_movement", density=0.1))
    path = file(tmp_path, as_dict(run) | derived, "config.json")
    words = ["train", "--config", path, "--method", "movement"]
    assert resolve(train_config(cli.parse(words))).mask_init == "magnitude"
    runs = resolve(recipe_config(None, **common, structure="2:4"))
    path = file(tmp_path, as_dict(runs) | derived, "config.json")
    words = ["train", "--config", path, "--structure", "1:4"]
    assert resolve(train_config(cli.parse(words))).density == 0.25
