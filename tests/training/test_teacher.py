"""Distillation: answers made once are the answers of every step, and mistakes are named."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import tiny
from disks import fill, make_read_only, small_disk

from mpjax.arrays import keep
from mpjax.config.recorded import TEACHER_DIGEST
from mpjax.config.resolve import resolve
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.runs.folder import RunDir
from mpjax.tasks.base import TEACHER_LOGITS, Encoded
from mpjax.tasks.batches import Batches
from mpjax.training.predict import INPUTS, make_predict
from mpjax.training.prepare import prepare
from mpjax.training.teacher import teacher_logits
from mpjax.training.train import train, with_teacher

pytestmark = pytest.mark.usefixtures("programs")

TASKS = {
    "classification": {"single_length": False},
    "qa": {
        "task": "demo_questions", "data": None, "limit_train": 40, "limit_eval": 8,
        "max_length": 32, "single_length": False,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def teachers(root):
    """A dense run for each kind of task; the student of question answering is as large."""
    folders = {}
    for name, options in TASKS.items():
        folders[name] = root / f"teacher-{name}"
        train(tiny.config(root, **options, method="dense", density=None, output=str(folders[name])))
    return folders


def student(root, teachers, name, **changes):
    return tiny.config(root, **(TASKS[name] | {"teacher": str(teachers[name])} | changes))


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_answers_made_once_are_those_of_every_batch(name, root, teachers):
    job = prepare(resolve(student(root, teachers, name)))
    assert job.inputs.teacher is not None
    batches = job.inputs.batches.with_array("teacher_logits", teacher_logits(job.inputs.teacher, 7))
    predict = make_predict(job.inputs.teacher.model.module)
    lengths = set()
    for step in range(10):
        batch = batches.batch(step)
        inputs = {k: v for k, v in batch.items() if k in INPUTS}
        now = predict(job.inputs.teacher.model.params, inputs)
        assert batch["teacher_logits"].shape == now.shape
        np.testing.assert_allclose(batch["teacher_logits"], now, atol=1e-6)
        lengths.add(batch["input_ids"].shape[1])
    if name == "qa":
        assert len(lengths) > 1, "batches of several lengths, or this shows little"
    assert "teacher_logits" not in job.inputs.batches.batch(0)


def test_logits_of_many_classes_are_not_cut_to_the_length_of_a_batch():
    n, width, classes = 6, 32, 40
    ids = np.ones((n, width), np.int32)
    encoded = Encoded({"input_ids": ids}, np.full(n, 5, np.int32))
    logits = np.arange(n * classes, dtype=np.float32).reshape(n, classes)
    batches = Batches(encoded, 2, 0).with_array("teacher_logits", logits)
    batch = batches.batch(0)
    assert batch["input_ids"].shape == (2, 16)
    np.testing.assert_array_equal(batch["teacher_logits"], logits[batches.rows(0)])


@pytest.mark.slow
def test_a_teacher_of_no_weight_changes_nothing(root, teachers):
    plain = tiny.config(root, output=str(root / "plain"), single_length=False)
    weightless = student(
        root, teachers, "classification",
        alpha_ce=1.0, alpha_distil=0.0, output=str(root / "weightless"),
    )  # fmt: skip
    heavy = student(root, teachers, "classification", output=str(root / "heavy"))
    for config in (plain, weightless, heavy):
        train(config)
    lines = [RunDir(root / name).metrics.read_bytes() for name in ("plain", "weightless", "heavy")]
    assert lines[0] == lines[1]
    assert lines[0] != lines[2]


@pytest.fixture
def teacher(root, teachers):
    found = prepare(resolve(student(root, teachers, "classification"))).inputs.teacher
    assert found is not None
    return found


def test_answers_are_kept_and_belong_to_the_data(root, teachers, teacher, tmp_path):
    first = teacher_logits(teacher, 8, tmp_path)
    [file] = tmp_path.iterdir()
    keep(file, {TEACHER_LOGITS: first + 1})  # what the cache holds is what is used
    np.testing.assert_array_equal(teacher_logits(teacher, 8, tmp_path), first + 1)
    other = prepare(resolve(student(root, teachers, "classification", limit_train=30))).inputs
    assert other.teacher is not None
    assert len(teacher_logits(other.teacher, 8, tmp_path)) == 30


def test_answers_belong_to_the_compute_dtype(root, teachers, teacher, tmp_path):
    exact = teacher_logits(teacher, 8, tmp_path)
    half = prepare(resolve(student(root, teachers, "classification", dtype="bfloat16"))).inputs
    assert half.teacher is not None
    assert not np.array_equal(teacher_logits(half.teacher, 8, tmp_path), exact)
    np.testing.assert_array_equal(teacher_logits(teacher, 8, tmp_path), exact)


@pytest.mark.slow
def test_another_teacher_at_the_same_path_is_said(root, teachers, tmp_path):
    run = RunDir(tmp_path / "run")
    config = student(root, teachers, "classification", output=str(run.path))
    train(config)
    run.result.unlink()
    recorded = read_object(run.config)
    digest = recorded["derived"].pop(TEACHER_DIGEST)
    write_json(run.config, recorded)  # of an earlier version
    train(config)
    assert read_object(run.config)["derived"][TEACHER_DIGEST] == digest
    run.result.unlink()
    recorded["derived"][TEACHER_DIGEST] = "another"
    write_json(run.config, recorded)
    with pytest.raises(InputError, match="have changed since it began: the weights of the teacher"):
        train(config)


DAMAGES = {
    "no file": lambda file, logits: file.write_bytes(b"not an array"),
    "cut": lambda file, logits: file.write_bytes(file.read_bytes()[:-9]),
    "flipped": lambda file, logits: file.write_bytes(
        file.read_bytes()[:-9] + bytes([file.read_bytes()[-9] ^ 64]) + file.read_bytes()[-8:]
    ),
    "rows": lambda file, logits: keep(file, {TEACHER_LOGITS: logits[:-1]}),
    "turned": lambda file, logits: keep(file, {TEACHER_LOGITS: logits.T}),
    "type": lambda file, logits: keep(file, {TEACHER_LOGITS: logits.astype(np.float64)}),
    "not finite": lambda file, logits: keep(
        file, {TEACHER_LOGITS: np.where(logits > 0, np.nan, logits)}
    ),
    "name": lambda file, logits: keep(file, {"other": logits}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_answers_are_said_and_made_anew(damage, teacher, tmp_path, caplog):
    first = np.array(teacher_logits(teacher, 8, tmp_path))  # a map would show the damage
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    DAMAGES[damage](file, first)
    assert file.read_bytes() != whole
    np.testing.assert_array_equal(teacher_logits(teacher, 8, tmp_path), first)
    assert caplog.text.count(f"{file} is damaged and is made again: ") == 1
    assert file.read_bytes() == whole and list(tmp_path.iterdir()) == [file]


def test_a_second_process_waits_for_the_answers_of_the_first(
    teacher, tmp_path, caplog, monkeypatch
):
    first = teacher_logits(teacher, 8, tmp_path)
    [file] = tmp_path.iterdir()
    file.rename(tmp_path / "kept")
    code = (
        "import sys; from pathlib import Path; from mpjax.locks import held\n"
        "file = Path(sys.argv[1])\n"
        "with held(file.with_suffix('.lock'), 'x'):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
        "    file.with_name('kept').rename(file)\n"
    )
    command = [sys.executable, "-c", code, str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    threading.Timer(0.5, process.communicate, ["end\n"]).start()
    monkeypatch.setattr("mpjax.training.teacher._predict", lambda *_: 1 / 0)  # not a second time
    np.testing.assert_array_equal(teacher_logits(teacher, 8, tmp_path), first)
    assert f"waiting for the teacher logits {file.name}, which is being written" in caplog.text
    process.wait()
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_or_read_only_cache_is_not_needed(teacher, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("mpjax.log._said", set())
    first = teacher_logits(teacher, 8, None)
    with small_disk(tmp_path / "disk", "64k") as disk:
        fill(disk)
        np.testing.assert_array_equal(teacher_logits(teacher, 8, disk), first)
        make_read_only(disk)
        np.testing.assert_array_equal(teacher_logits(teacher, 8, disk), first)
        assert list(disk.iterdir()) == [disk / "filling"]
    assert caplog.text.count("going on without the cache: ") == 1


def test_a_teacher_without_a_head_is_refused(root, teachers):
    config = student(root, teachers, "classification", teacher=str(root / "model"))
    with pytest.raises(InputError, match=r"no trained head for sst2.*mpjax train --method dense"):
        prepare(resolve(config))


def test_a_teacher_whose_classes_are_in_another_order_is_warned_about(
    root, teachers, caplog, monkeypatch
):
    job = prepare(resolve(student(root, teachers, "classification")))
    wrong = np.eye(2, dtype=np.float32)[1 - job.inputs.batches.encoded.arrays["labels"]]
    monkeypatch.setattr("mpjax.training.teacher.teacher_logits", lambda *_: wrong)
    with_teacher(job)
    assert "--teacher " in caplog.text and "accuracy is 0.0, and would be 100.0" in caplog.text
    assert "classes were positive,negative, in this order" in caplog.text
    caplog.clear()
    monkeypatch.setattr("mpjax.training.teacher.teacher_logits", lambda *_: 1 - wrong)
    with_teacher(job)
    assert caplog.text == ""


def test_a_teacher_with_other_tokens(root, teachers, tmp_path):
    """Fine for classes, impossible for positions of tokens."""
    import json
    import shutil

    for name in TASKS:
        folder = shutil.copytree(teachers[name] / "model", tmp_path / name)
        path = folder / "tokenizer.json"
        tokenizer = json.loads(path.read_text())
        vocabulary = tokenizer["model"]["vocab"]
        words = [w for w in vocabulary if not w.startswith("[")][:2]
        vocabulary[words[0]], vocabulary[words[1]] = vocabulary[words[1]], vocabulary[words[0]]
        path.write_text(json.dumps(tokenizer))
        config = resolve(student(root, teachers, name, teacher=str(folder)))
        if name == "qa":
            with pytest.raises(InputError, match="another tokenizer than --model"):
                prepare(config)
            continue
        job = prepare(config)
        assert job.inputs.teacher is not None
        other = prepare(resolve(student(root, teachers, name))).inputs.teacher
        assert other is not None and job.inputs.teacher.key != other.key
        ids = job.inputs.teacher.encoded.arrays["input_ids"]
        assert (ids != job.inputs.batches.encoded.arrays["input_ids"]).any()


@pytest.mark.parametrize("name", ["temperature", "alpha_ce", "alpha_distil"])
def test_distillation_options_need_a_teacher(name, root):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is for distillation"):
        resolve(tiny.config(root, **{name: 1.0}))


def test_temperature_must_be_positive(root, teachers):
    with pytest.raises(InputError, match="--temperature is 0"):
        resolve(student(root, teachers, "classification", temperature=0.0))


def test_masked_words_have_no_teacher(root, teachers):
    config = student(
        root, teachers, "classification", task="demo_mlm", data=None, method="dense", density=None
    )
    with pytest.raises(InputError, match="--teacher does not apply to demo_mlm"):
        prepare(resolve(config))
