"""Runs from end to end: what they write, that they repeat, and that they continue exactly."""

import json
import os
import random
import re
import shutil
import signal

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file

from mpjax import cli, files
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.resolve import resolve
from mpjax.errors import InputError, Interrupted
from mpjax.runs import folder
from mpjax.runs.folder import RunDir
from mpjax.tasks.batches import Batches
from mpjax.training import train as training
from mpjax.training.evaluate import _completed, evaluate
from mpjax.training.prepare import limited, prepare
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")

DENSITY = 0.29  # int(0.29 * 16 * 24) is 111
METHODS = {
    "dense": {"density": None},
    "magnitude": {"density": DENSITY},
    "movement": {"density": DENSITY},
    "movement-global": {"density": DENSITY, "scope": "global"},
    "soft_movement": {"density": None, "final_lambda": 200.0, "score_learning_rate": 1.0},
    "l0": {"density": DENSITY, "final_lambda": 1.0},
    "steered-soft": {"density": DENSITY, "method": "soft_movement", "score_learning_rate": 1.0},
    "steered-l0": {"density": DENSITY, "method": "l0"},
    "held": {"density": DENSITY, "method": "movement", "prune_every": 2},
    "platon": {"density": DENSITY, "scope": "global", "score_optimizer": "platon",
               "prune_every": 2, "dense_gradient": True, "method": "movement"},
}  # fmt: skip


def start(root, name, **changes):
    options = {"method": name.removesuffix("-global"), "output": str(root / name)} | METHODS[name]
    return train(tiny.config(root, **(options | changes)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(root):
    """The run that the others are compared with: movement, with an evaluation on the way."""
    start(root, "movement", eval_every=2, checkpoint_every=2)
    return RunDir(root / "movement")


def matrices(run):
    tensors = load_file(run.model / "model.safetensors")
    return [t for name, t in tensors.items() if ".layer." in name and t.ndim == 2]


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_run_ends_at_the_density_asked_for(name, root):
    result = start(root, name) if name != "movement" else start(
        root, name, eval_every=2, checkpoint_every=2
    )  # fmt: skip
    run = RunDir(root / name)
    kept = [int(np.count_nonzero(m)) for m in matrices(run)]
    sizes = [m.size for m in matrices(run)]
    if name == "dense":
        assert kept == sizes
    elif name in ("movement-global", "platon", "steered-soft", "steered-l0"):
        assert sum(kept) == int(DENSITY * sum(sizes))
    elif name == "soft_movement":
        assert 0 < sum(kept) < sum(sizes)
    else:
        assert kept == [int(DENSITY * size) for size in sizes]
    assert result == run.read_result()
    assert result["linear_density"] == sum(kept) / sum(sizes)
    assert result["steps"] == tiny.STEPS
    records = folder.read_lines(run.metrics)
    assert [r["step"] for r in records if "loss" in r] == list(range(1, tiny.STEPS + 1))
    assert records[-1] == {"step": tiny.STEPS, "eval": result["score"]}


def test_evaluate_takes_the_data_of_the_run_for_the_task_of_the_run_only(tmp_path):
    recorded = {"task": "sst2", "data": "/here", "max_length": 16, "derived": {}}
    files.write_json(tmp_path / "config.json", recorded)

    def data(**options):
        return _completed(EvaluateConfig(model=str(tmp_path), **options))[0].data

    assert data() == data(task="sst2") == "/here"
    assert data(task="sst2", data="/there") == "/there"
    assert data(task="mnli") is None


@pytest.mark.slow
def test_a_run_folder_holds_what_it_says(finished, root):
    config = files.read_object(finished.config)
    assert config["density"] == DENSITY and config["final_threshold"] == DENSITY
    assert config["derived"]["train_rows"] == tiny.ROWS["train"]
    assert config["derived"]["total_steps"] == tiny.STEPS
    (session,) = files.read_object(finished.provenance)["sessions"]
    assert session["versions"]["jax"] and session["from_step"] == 0
    evals = [r["step"] for r in folder.read_lines(finished.metrics) if "eval" in r]
    assert evals == [2, 4, 6]
    names = {path.name for path in finished.path.iterdir()}
    assert names == {
        "config.json", "provenance.json", "metrics.jsonl", "timings.jsonl", "masks.jsonl",
        "checkpoints", "model", "result.json",
    }  # fmt: skip
    folders = {path.name for path in root.iterdir()} - {*METHODS, "model", "data", "tokenizer"}
    assert not [name for name in folders if name.startswith(".")], "temporary folders are gone"


@pytest.mark.slow
def test_embeddings_stay_as_they_were_unless_they_are_to_be_trained(finished, root):
    before = load_file(root / "model" / "model.safetensors")
    after = load_file(finished.model / "model.safetensors")
    train(tiny.config(root, output=str(root / "all"), train_embeddings=True, steps=4))
    trained = load_file(root / "all" / "model" / "model.safetensors")
    word = "bert.embeddings.word_embeddings.weight"
    bias = "bert.encoder.layer.0.output.dense.bias"
    assert np.array_equal(before[word], after[word])
    assert not np.array_equal(before[word], trained[word])
    assert not np.array_equal(before[bias], after[bias])


def test_evaluating_the_folder_gives_the_score_of_the_run(finished):
    scores = evaluate(EvaluateConfig(str(finished.path), cache="none", batch_size=3))
    assert scores["score"] == finished.read_result()["score"]
    data = str(finished.path.parent / "data")
    alone = evaluate(EvaluateConfig(str(finished.model), "sst2", data, max_length=16, cache="none"))
    assert alone["score"] == scores["score"]
    assert evaluate(EvaluateConfig(str(finished.path), cache="none", limit=5))["rows"] == 5


def test_evaluating_a_run_says_that_the_labels_of_its_rows_have_changed(finished, caplog):
    dev = finished.path.parent / "data" / "dev.tsv"
    before = dev.read_text()
    runs = [EvaluateConfig(str(finished.path), cache="none", limit=n) for n in (None, 5)]
    evaluate(runs[0])
    assert not caplog.text
    flip = {"0": "1", "1": "0"}
    lines = [f"{line[:-1]}{flip.get(line[-1], line[-1])}" for line in before.splitlines()]
    try:
        dev.write_text("\n".join(lines) + "\n")
        flipped = evaluate(runs[0])["score"]
        evaluate(runs[1])  # cannot be told
    finally:
        dev.write_text(before)
    assert flipped["accuracy"] == pytest.approx(100 - finished.read_result()["score"]["accuracy"])
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert (
        len(said) == 1 and "have changed since the run was scored on them: their labels" in said[0]
    )


class Stop(Exception):
    """A crash in the middle of a run."""


def stop_at(monkeypatch, step, action):
    """Calls `action` once the step has been dispatched and the ones before have been logged."""
    write = training.Journal.train

    def train_and_stop(self, number, metrics):
        write(self, number, metrics)
        if number == step:
            action()

    monkeypatch.setattr(training.Journal, "train", train_and_stop)


def crash():
    raise Stop


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "action", "error"), [(1, crash, Stop), (5, crash, Stop), (3, terminate, Interrupted)]
)
def test_a_stopped_run_continues_to_the_same_bits(
    step, action, error, finished, root, tmp_path, monkeypatch
):
    options = {"output": str(tmp_path / "run"), "eval_every": 2, "checkpoint_every": 2}
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        stop_at(patch, step, action)
        with pytest.raises(error):
            start(root, "movement", **options)
    assert signal.getsignal(signal.SIGTERM) == before
    run = RunDir(tmp_path / "run")
    assert run.read_result() is None and not run.model.exists()
    with pytest.raises(InputError, match="not finished"):
        evaluate(EvaluateConfig(str(run.path)))
    start(root, "movement", **options)
    sessions = files.read_object(run.provenance)["sessions"]
    expected = step if action is terminate else (step - 1) // 2 * 2
    assert [s["from_step"] for s in sessions] == [0, expected]
    assert run.metrics.read_bytes() == finished.metrics.read_bytes()
    assert (run.model / "model.safetensors").read_bytes() == (
        finished.model / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_held_scores_continue_to_the_same_bits(root, tmp_path, monkeypatch):
    whole, steps = RunDir(tmp_path / "whole"), 20  # room for eight cuts, two steps apart
    start(root, "platon", output=str(whole.path), steps=steps)
    assert files.read_object(whole.config)["derived"]["prune_every"] == 2
    options = {"output": str(tmp_path / "run"), "steps": steps}
    with monkeypatch.context() as patch:
        stop_at(patch, 3, terminate)  # between two cuts
        with pytest.raises(Interrupted):
            start(root, "platon", **options)
    start(root, "platon", **options)
    assert RunDir(tmp_path / "run").metrics.read_bytes() == whole.metrics.read_bytes()
    weights = [run / "model" / "model.safetensors" for run in (tmp_path / "run", whole.path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_tensorboard_gets_every_value_that_the_files_get(root, tmp_path, finished):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    run = RunDir(tmp_path / "run")
    start(root, "movement", output=str(run.path), eval_every=2, tensorboard=True)
    [file] = (run.path / "tensorboard").iterdir()
    found, data = {}, file.read_bytes()
    while data:  # a record: length (8 bytes), its checksum (4), the event, its checksum (4)
        size = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        for value in event.summary.value:
            found[event.step, value.tag] = value.simple_value
        data = data[16 + size :]
    assert found.pop((tiny.STEPS, "result/text_summary")) is not None
    expected = {}
    for record in folder.read_lines(run.metrics):
        values = {f"eval/{k}": v for k, v in record.pop("eval", {}).items()} or record
        expected |= {(record["step"], k): v for k, v in values.items() if k != "step"}
    speeds = {key: found.pop(key) for key in list(found) if key[1] == "rows_per_second"}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(
        [found[k] for k in sorted(found)], [expected[k] for k in sorted(found)], rtol=1e-6
    )
    assert len(speeds) == tiny.STEPS and min(speeds.values()) > 0
    assert run.metrics.read_bytes() == finished.metrics.read_bytes()


def test_learning_rates_are_logged_as_they_were_used(finished):
    records = [r for r in folder.read_lines(finished.metrics) if "loss" in r]
    # One step of warm-up, then down to 0 at the sixth: the update of step 2 is the peak.
    shape = np.array([0.0, 1.0, 0.8, 0.6, 0.4, 0.2])
    np.testing.assert_allclose([r["learning_rate"] for r in records], 1e-2 * shape, rtol=1e-6)
    np.testing.assert_allclose([r["score_learning_rate"] for r in records], 1e-2 * shape, rtol=1e-6)


@pytest.mark.slow
def test_every_batch_is_taken_once_and_in_order(root, tmp_path, monkeypatch):
    taken, give = [], Batches.batch

    def batch(self, step, part):
        taken.append(step)
        return give(self, step, part)

    monkeypatch.setattr(Batches, "batch", batch)
    start(root, "movement", output=str(tmp_path / "run"), eval_every=2)
    assert taken == list(range(tiny.STEPS))


def test_limited_rows_are_the_first_of_the_stated_shuffle():
    rows: list = [{"row": i} for i in range(9)]
    order = list(range(9))
    random.Random(0).shuffle(order)
    assert [row["row"] for row in limited(rows, 4)] == order[:4]
    assert limited(rows, None) == limited(rows, 9) == limited(rows, 10) == rows


@pytest.mark.slow
def test_the_same_config_gives_the_same_bits_and_compiles_nothing_large_again(
    finished, root, tmp_path, programs
):
    def large():  # step, cuts and evaluation; whether a small one is kept depends on its time
        found = [p for p in programs.iterdir() if p.name.endswith("-cache")]
        return {p for p in found if p.stat().st_size >= 2**15}

    before = large()
    assert before
    start(root, "movement", output=str(tmp_path / "run"), eval_every=2, checkpoint_every=3)
    assert large() == before
    run = RunDir(tmp_path / "run")
    assert run.metrics.read_bytes() == finished.metrics.read_bytes()
    other = start(root, "movement", output=str(tmp_path / "other"), eval_every=2, seed=1)
    assert RunDir(tmp_path / "other").metrics.read_bytes() != finished.metrics.read_bytes()
    assert other["linear_density"] == finished.read_result()["linear_density"]


@pytest.mark.slow
def test_a_run_begun_on_eight_devices_ends_on_one_as_it_would_have_there(
    finished, root, tmp_path, monkeypatch
):
    options = {"output": str(tmp_path / "run"), "eval_every": 2, "remat": True}
    split = {"devices": None, "mesh": "data=2,fsdp=2,tensor=2", "scan_layers": True}
    with monkeypatch.context() as patch:
        stop_at(patch, 4, terminate)
        with pytest.raises(Interrupted):
            start(root, "movement", **options, **split)
    result = start(root, "movement", **options)
    assert result["linear_density"] == finished.read_result()["linear_density"]
    one, eight = (
        [r["loss"] for r in folder.read_lines(RunDir(p).metrics) if "loss" in r]
        for p in (finished.path, tmp_path / "run")
    )
    np.testing.assert_allclose(eight, one, rtol=1e-4)
    sessions = files.read_object(RunDir(tmp_path / "run").provenance)["sessions"]
    assert [s["from_step"] for s in sessions] == [0, 4]
    assert sessions[0]["hardware"]["devices"] == 8


def test_a_mesh_that_does_not_fit_leaves_no_run_behind(root, tmp_path):
    with pytest.raises(InputError, match="--mesh data=4"):
        start(root, "movement", output=str(tmp_path / "run"), devices=None, mesh="data=4")
    assert not (tmp_path / "run").exists()


def test_accumulation_is_part_of_what_a_run_computes(finished, root):
    with pytest.raises(InputError, match="--accumulate was 1, now 2"):
        start(root, "movement", eval_every=2, accumulate=2)


def test_a_run_that_lost_its_end_finishes_without_a_step(finished, root, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    result = finished.read_result()
    run.result.unlink()
    shutil.rmtree(run.model)
    again = start(root, "movement", output=str(run.path), eval_every=2)
    assert again == result
    assert run.metrics.read_bytes() == finished.metrics.read_bytes()


def test_a_finished_run_only_says_so(finished, root, monkeypatch, caplog):
    monkeypatch.setattr(training, "prepare", None)
    again = start(root, "movement", eval_every=2, checkpoint_every=99, cache=None)
    assert again == finished.read_result()
    assert "is finished" in caplog.text


def test_a_different_config_is_refused_by_its_options(finished, root):
    before = finished.config.read_bytes()
    with pytest.raises(InputError, match=r"--seed was 0, now 1; --eval-every was 2, now 3"):
        start(root, "movement", eval_every=3, seed=1)
    assert finished.config.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"eval_every": 3}, "; to change it, give these and --continue-with eval-every=3$"),
        ({"eval_every": None}, "options to continue it$"),
        ({"continue_with": "clip=0.5", "seed": 1}, "options to continue it$"),
        (
            {"continue_with": "clip=0.5", "eval_every": 3},
            "--continue-with clip=0.5,eval-every=3$",
        ),
    ],
)
def test_a_run_that_has_begun_can_be_changed(options, advice, finished, root, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    options = {"eval_every": 2, "output": str(tmp_path / "run")} | options
    with pytest.raises(InputError, match=f"belongs to a different run: .*{advice}"):
        start(root, "movement", **options)
    with pytest.raises(InputError, match=r"options to continue it$"):  # of a sweep
        folder.check(tiny.config(root, method="movement", **options), member=True)


def test_a_run_is_no_model_to_begin_with(finished, root, tmp_path):
    model = re.escape(str(finished.path / "model"))
    with pytest.raises(InputError, match=f"is a run; give the model .*, or {model}, the pruned"):
        start(root, "movement", model=str(finished.path), output=str(tmp_path / "run"))


def test_of_many_different_options_some_are_named(finished, root):
    many = {"seed": 1, "eval_every": 3, "warmup": 0.5, "weight_decay": 0.5, "clip": 9.0,
            "mask_scale": 0.5, "initial_warmup": 2.0, "final_warmup": 1.5, "log_every": 3,
            "limit_eval": 8, "learning_rate": 0.5}  # fmt: skip
    with pytest.raises(InputError, match=r"; and \d more\. Choose") as error:
        start(root, "movement", **many)
    assert str(error.value).count(" was ") == 8


def test_changed_data_are_refused(finished, root, tmp_path):
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    config = files.read_object(tmp_path / "run" / "config.json") | {"data": str(tmp_path / "data")}
    files.write_json(tmp_path / "run" / "config.json", config)
    dev = tmp_path / "data" / "dev.tsv"
    dev.write_text("\n".join(dev.read_text().splitlines()[:-2]) + "\n")
    with pytest.raises(InputError, match=r"have changed.*dev_rows was 16, now 14"):
        start(root, "movement", eval_every=2, output=str(tmp_path / "run"),
              data=str(tmp_path / "data"))  # fmt: skip


@pytest.mark.parametrize(("split", "named"), [("train", "train rows"), ("dev", "dev rows")])
def test_other_labels_of_as_many_rows_are_refused(
    split, named, finished, root, tmp_path, monkeypatch
):
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path = tmp_path / "run" / "config.json"
    recorded = files.read_object(path) | {"data": str(tmp_path / "data")}
    files.write_json(path, recorded)
    rows = tmp_path / "data" / f"{split}.tsv"
    lines = rows.read_text().splitlines()
    text, label = lines[-1].rsplit("\t", 1)
    rows.write_text("\n".join([*lines[:-1], f"{text}\t{1 - int(label)}"]) + "\n")
    options = {"output": str(tmp_path / "run"), "data": str(tmp_path / "data"), "eval_every": 2}
    with pytest.raises(
        InputError, match=rf"have changed.*: texts, labels or tokens of the {named}\. "
    ):
        start(root, "movement", **options)
    derived = {k: v for k, v in recorded["derived"].items() if k != "data_digest"}
    files.write_json(path, {**recorded, "derived": derived})  # of an earlier version
    with monkeypatch.context() as broken:
        broken.setattr(training, "_train", _unreadable)
        with pytest.raises(InputError, match="unreadable"):
            start(root, "movement", **options)
    now = files.read_object(path)["derived"]["data_digest"]
    assert now[split == "train"] == recorded["derived"]["data_digest"][split == "train"]
    assert now != recorded["derived"]["data_digest"]


def test_a_wide_model_is_noted_before_it_trains(root, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mpjax.training.build.MEASURED_WIDTH", 8)
    options = {"output": str(tmp_path / "run"), "learning_rate": 4e-4, "scope": "global"}
    prepare(resolve(tiny.config(root, method="movement", score_optimizer="sensitivity", **options)))
    assert "found on a model of width 8; this one has 16" in caplog.text


def test_a_split_of_own_data_is_refused_for_other_tasks(root, tmp_path):
    for options, named in (
        ({"dev_share": 0.5}, "--dev-share"),
        ({"split_seed": 9}, "--split-seed"),
    ):
        with pytest.raises(InputError, match=f"{named} is for own data; sst2 has a dev set"):
            start(root, "movement", output=str(tmp_path / "run"), **options)


def test_lines_before_the_first_checkpoint_are_not_read(finished, root, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    shutil.rmtree(run.checkpoints)
    run.result.unlink()
    run.metrics.write_bytes(b"\0\0\n" + run.metrics.read_bytes())
    start(root, "movement", output=str(run.path), eval_every=2)
    assert folder.read_lines(run.metrics) == folder.read_lines(finished.metrics)


def _unreadable(*args):
    raise InputError("unreadable")


def test_a_run_recorded_without_its_interval_had_that_of_the_option(root, tmp_path):
    config, run = tiny.config(root, prune_every=4), RunDir(tmp_path / "run")
    folder.create(run, config, {"total_steps": 6})
    folder.create(run, config, {"total_steps": 6, "prune_every": 4})
    with pytest.raises(InputError, match="prune_every was 4, now 2"):
        folder.create(run, config, {"total_steps": 6, "prune_every": 2})


@pytest.mark.slow
@pytest.mark.parametrize("steps", [12, 47])
def test_a_short_run_of_a_recipe_ends_at_its_density_with_a_note(steps, root, tmp_path, capsys):
    tiny.config(root)  # writes model and data
    words = ["--recipe", "platon", "--density", "0.03", "--batch-size", "8"]
    words += ["--model", str(root / "model"), "--task", "sst2", "--data", str(root / "data")]
    words += ["--steps", str(steps), "--max-length", "16", "--single-length", "--devices", "1"]
    run = RunDir(tmp_path / "run")
    assert cli.main(["train", *words, "--output", str(run.path), "--cache", "none"]) == 0
    every = {12: 1, 47: 4}[steps]
    note = f"--prune-every 10 is lowered to {every}, to fit a run of {steps} steps"
    assert capsys.readouterr().err.count(note) == 1
    derived = files.read_object(run.config)["derived"]
    assert (derived["total_steps"], derived["prune_every"]) == (steps, every)
    kept, size = (sum(f(m) for m in matrices(run)) for f in (np.count_nonzero, np.size))
    assert kept == int(0.03 * size)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(root, tmp_path):
    with pytest.raises(InputError, match=r"the loss is .*--learning-rate"):
        start(root, "dense", output=str(tmp_path / "run"), learning_rate=1e30, clip=0.0)
    assert not (tmp_path / "run" / "result.json").exists()


def test_lines_cut_short_are_left_out_and_later_ones_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 0.1}\n{"step": 2, "loss": 0.2}\n{"step": 3, "lo')
    assert [r["step"] for r in folder.read_lines(path)] == [1, 2]
    folder.keep_until(path, 1)
    assert path.read_text() == '{"step": 1, "loss": 0.1}\n'


def test_writing_fails_without_a_trace(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    monkeypatch.setattr(os, "replace", lambda *_: crash())
    with pytest.raises(Stop):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
