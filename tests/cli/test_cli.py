"""The command line: quick help, results on stdout, mistakes refused before anything happens."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file, save_file

import mpjax
from mpjax import cli
from mpjax.config.checks import option
from mpjax.config.train import TrainConfig
from mpjax.training import train as training

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    tiny.options(root)
    return root


@pytest.fixture(scope="module")
def run(root):
    """A finished run, made by the command line."""
    assert cli.main(tiny.command(root, output=str(root / "run"))) == 0
    return root / "run"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fails(argv, capsys):
    """The message of a command that is refused."""
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (message,) = captured.err.splitlines()
    assert message.startswith("mpjax: error: ")
    return message


HELP = [["--help"], *([command, "--help"] for command in cli.COMMANDS)]


@pytest.mark.parametrize("argv", HELP, ids=" ".join)
def test_help_imports_nothing_heavy(argv):
    code = (
        "import sys; from mpjax import cli\n"
        f"try: cli.main({argv})\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'jax', 'flax', 'numpy', 'transformers', 'orbax'} & set(sys.modules)))"
    )
    path = str(Path(mpjax.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
    )
    assert done.stderr.strip() == "set()" and "example" in done.stdout + "example" * (len(argv) < 2)


def test_every_option_and_place_has_a_help():
    for command, parser in cli.build_parser()[1].items():
        for action in parser._actions:
            words = (action.help or "").partition("(default")[0].strip()
            assert words, f"mpjax {command}: {action.option_strings or action.metavar}"


def test_every_field_of_the_config_is_an_option_with_its_default():
    args = vars(cli.parse(["train"]))
    others = (  # no part of a run
        "command", "version", "coordinator", "processes", "process_id", "recipe", "given",
        "config", "quiet", "verbose",
    )  # fmt: skip
    assert {k: args[k] for k in args if k not in others} == dataclasses.asdict(TrainConfig())
    help_text = cli.build_parser()[1]["train"].format_help()
    for field in dataclasses.fields(TrainConfig):
        assert option(field.name) in help_text
        assert " ".join(field.metadata["help"].split()[:3]) in " ".join(help_text.split())


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["train", "--final-lamda", "3"], "--final-lambda"),
        (["train", "--densty=0.1"], "--density"),
        (["train", "--final"], None),  # no abbreviations: they would change with new options
        (["train", "--learning_rate", "3"], "--learning-rate"),
        (["evaluate", "--modle", "x"], "--model"),
        (["inspect", "x", "--jsn"], "--json"),
        (["--verson"], "--version"),
        (["train", "stray"], None),
    ],
)
def test_a_misspelt_option_is_answered_with_the_right_one(argv, meant, capsys):
    message = fails(argv, capsys)
    assert argv[-1].split("=")[0] in message or argv[-2] in message
    assert (
        f"did you mean {meant}?" in message if meant else "--help" in message or "mean" in message
    )


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["trian"], ["trian", "train"]),
        (["train"], ["--model", "missing"]),
        (["train", "--epochs", "many"], ["--epochs", "many"]),
        (["train", "--epochs", "5", "--steps", "60"], ["--steps 60 beside --epochs 5", "one"]),
        (["train", "--scope", "all"], ["--scope", "global"]),
        (["evaluate"], ["--model", "missing"]),
        (["inspect"], ["RUN_OR_MODEL"]),
        (["inspect", "/not/here"], ["/not/here"]),
        (["export", "/not/here"], ["--output", "missing"]),
        (["export", "/not/here", "--output", "x"], ["/not/here"]),
        (["train", "--learning-rate=--"], ["--learning-rate is '--'", "=VALUE"]),
        (["train", "--structure=--"], ["--structure is '--'", "=VALUE"]),
        (["inspect", "--", "--model=--"], ["--model=-- does not exist"]),
        (["unpack", " ", "--output", "x"], ["error: ' ' is not a packed model"]),
    ],
)
def test_wrong_words_are_answered(argv, parts, capsys):
    message = fails(argv, capsys)
    for part in parts:
        assert part in message


def write(path: Path, change) -> Path:
    path.write_text(change(path.read_text()))
    return path


def break_line(text):
    lines = text.splitlines()
    return "\n".join([*lines[:4], lines[4].split("\t")[0], *lines[5:]]) + "\n"


def drop_layer(root):
    path = root / "model" / "model.safetensors"
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if "attention.self.key" not in k}, path)


def shrink_layer(root):
    path = root / "model" / "model.safetensors"
    tensors = load_file(path)
    name = "bert.encoder.layer.0.intermediate.dense.weight"
    save_file(tensors | {name: np.ascontiguousarray(tensors[name][:-1])}, path)


BAD = {
    "unknown option": (None, {"sparsity": 0.1}, ["--sparsity"]),
    "density": (None, {"density": 1.5}, ["--density", "1.5"]),
    "no density": (None, {"density": None}, ["--density"]),
    "warm-ups": (None, {"warmup": 2}, ["--warmup", "2 warm-up steps = 6", "6 steps", "at most 1"]),
    "no model": (None, {"model": "/not/here"}, ["/not/here"]),
    "no data": (None, {"data": "/not/here"}, ["--data", "/not/here"]),
    "no train file": (lambda r: (r / "data/train.tsv").unlink(), {}, ["train", "data"]),
    "malformed line": (lambda r: write(r / "data/train.tsv", break_line), {}, ["train.tsv line 5"]),
    "wrong label": (
        lambda r: write(r / "data/dev.tsv", lambda t: t + "the soup was nasty .\t2\n"),
        {},
        [f"dev.tsv line {tiny.ROWS['dev'] + 2}", "'2'"],
    ),
    "no weights": (lambda r: (r / "model/model.safetensors").unlink(), {}, ["no weights", "model"]),
    "no config": (lambda r: (r / "model/config.json").unlink(), {}, ["config.json"]),
    "no tokenizer": (
        lambda r: [p.unlink() for p in (r / "model").iterdir() if "token" in p.name
                   or "vocab" in p.name],
        {},
        ["tokenizer"],
    ),
    "missing weight": (drop_layer, {}, ["attention", "key"]),
    "wrong shape": (shrink_layer, {}, ["intermediate.dense", "23"]),
    "too long": (None, {"max_length": 33}, ["--max-length 33", "32"]),
    "too few rows": (None, {"batch_size": 64}, ["--batch-size 64", "40"]),
    "a foreign folder": (None, {"output": "data"}, ["--output", "not a run"]),
    "a file": (None, {"output": "data/dev.tsv"}, ["--output", "file"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_anything_is_compiled_or_written(
    case, root, tmp_path, capsys, monkeypatch
):
    spoil, changes, parts = BAD[case]
    shutil.copytree(root, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run*"))
    if spoil is not None:
        spoil(tmp_path)
    changes = dict(changes)
    if "output" in changes:
        changes["output"] = str(tmp_path / changes["output"])
    monkeypatch.setattr(training, "_train", None)
    before = contents(tmp_path)
    message = fails(tiny.command(tmp_path, **changes), capsys)
    for part in parts:
        assert part in message
    assert contents(tmp_path) == before
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_of_another_model_is_refused(root, tmp_path, capsys):
    tiny.model(tmp_path / "small", vocab_size=50)
    message = fails(tiny.command(root, model=str(tmp_path / "small"), output="x"), capsys)
    assert "vocab_size" in message and "50" in message


@pytest.mark.slow
def test_train_prints_its_result_and_the_same_again(run, root, capsys):
    capsys.readouterr()
    assert cli.main(tiny.command(root, output=str(root / "run"))) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads((run / "result.json").read_text())
    assert "finished" in captured.err
    message = fails(tiny.command(root, output=str(root / "run"), seed=5), capsys)
    assert "--seed was 0, now 5" in message


@pytest.mark.slow
def test_evaluate_prints_json_and_nothing_else(run, capfd):
    capfd.readouterr()
    assert cli.main(["evaluate", "--model", str(run), "--cache", "none"]) == 0
    scores = json.loads(capfd.readouterr().out)
    assert scores["score"] == json.loads((run / "result.json").read_text())["score"]
    assert scores["metric"] == "accuracy" and scores["rows"] == tiny.ROWS["dev"]


def test_evaluate_refuses_a_model_without_its_head(root, capsys):
    model, data = str(root / "model"), str(root / "data")
    words = ["evaluate", "--model", model, "--cache", "none"]
    sst2 = ["--task", "sst2", "--data", data, "--max-length", "16"]
    assert "no trained head" in fails([*words, *sst2], capsys)
    assert "--task" in fails(words, capsys)
    assert "--limit" in fails([*words, "--task", "sst2", "--limit", "0"], capsys)


def test_inspect_counts_what_is_there(run, capsys):
    tensors = load_file(run / "model" / "model.safetensors")
    inside = {k: v for k, v in tensors.items() if ".encoder." in k}
    kept = sum(np.count_nonzero(v) for v in inside.values() if v.ndim == 2)
    size = sum(v.size for v in inside.values() if v.ndim == 2)
    others = sum(v.size for v in inside.values() if v.ndim == 1)
    for folder in (run, run / "model"):
        assert cli.main(["inspect", str(folder), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["linear_density"] == kept / size
        assert found["encoder_remaining"] == (kept + others) / (size + others)
        assert found["encoder_parameters"] == size + others
        key = inside["bert.encoder.layer.0.attention.self.key.weight"]
        assert found["layers"][0]["matrices"]["key"] == np.count_nonzero(key) / key.size
        assert found["layers"][0]["encoder_remaining"] == found["encoder_remaining"]
    assert cli.main(["inspect", str(run)]) == 0
    table = capsys.readouterr().out
    assert "attn out" in table and f"{100 * kept / size:.2f}%" in table and f"{kept:,}" in table


def test_a_reader_that_goes_away_is_no_error(run):
    path = str(Path(mpjax.__file__).parents[1])
    done = subprocess.run(
        f"{sys.executable} -m mpjax inspect {run} | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stderr == "" and done.returncode in (0, 128 + signal.SIGPIPE)


def test_an_interrupted_command_says_so_in_its_status(root, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["inspect"], "run", interrupt)
    assert cli.main(["inspect", "x"]) == 130
    write = training.Journal.train

    def terminate(self, step, metrics):
        write(self, step, metrics)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.Journal, "train", terminate)
    assert cli.main(tiny.command(root, output=str(tmp_path / "run"))) == 128 + signal.SIGTERM
    error = capsys.readouterr().err
    assert "stopped at step 1 of 6" in error and "the same command continues" in error
