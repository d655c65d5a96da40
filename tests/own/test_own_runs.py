"""Own data from file to export: every task trains, continues, is scored, distilled and swept."""

import functools
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import tiny
from labelled import STARS, reviews, sentences, squad, stories, write_csv, write_lines

from mpjax import cli
from mpjax.config.recorded import DEV_DIGEST
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError, Interrupted
from mpjax.files import read_object
from mpjax.runs import folder
from mpjax.runs.folder import RunDir
from mpjax.runs.journal import Journal
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")


def pairs(folder: Path) -> Path:
    for split, count in (("train", 40), ("dev", 12)):
        texts = sentences(2 * count, stream=len(split))
        records = [
            {"premise": a, "hypothesis": b, "gold": ("no", "yes", "perhaps")[i % 3]}
            for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))
        ]
        write_lines(folder / f"{split}.jsonl", records)
    return folder


def values(path: Path) -> Path:
    rows = [(text, len(text) / 20) for text in sentences(60)]
    return write_csv(path, ("review", "length"), rows, delimiter="\t")


def tags(path: Path) -> Path:
    names = {"mira": "B-PER", "tolo": "B-PER", "the": "B-X", "drum": "I-X"}
    words = [text.split() for text in sentences(60)]
    return write_lines(
        path, [{"tokens": each, "tags": [names.get(word, "O") for word in each]} for each in words]
    )


CASES = {
    "single": ("classification", lambda root: reviews(root / "reviews.csv"),
               {"text": "review", "label": "stars", "class_weights": "balanced",
                "metric": "macro_f1"}),
    "pair": ("classification", lambda root: pairs(root / "pairs"),
             {"text": "premise,hypothesis", "label": "gold"}),
    "regression": ("regression", lambda root: values(root / "values.tsv"), {"label": "length"}),
    "tokens": ("tokens", lambda root: tags(root / "tags.jsonl"), {"class_weights": "balanced"}),
    "qa": ("qa", lambda root: squad(root / "squad.json", stories(60, unanswered=9)),
           {"max_length": 32, "single_length": False}),
}  # fmt: skip
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("pair", "regression", "tokens")]
FAST = ("single", "qa", *SLOW)
# Without it `pipeline` would give the sigmoid of a regression's value.
PROBLEM_TYPES = {"classification": "single_label_classification", "regression": "regression"}
LABELS = {"single": sorted(STARS), "pair": ["no", "perhaps", "yes"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def finished(root):
    """Options of the finished run of a task, which is trained when it is first asked for."""

    @functools.cache
    def trained(name):
        task, make, own = CASES[name]
        options = {"task": task, "data": str(make(root)), "output": str(root / name)} | own
        options |= {"density": 0.4, "checkpoint_every": 2}
        assert cli.main(tiny.command(root, **options)) == 0
        return options

    return trained


def printed(capsys, *words):
    """JSON that a command prints."""
    capsys.readouterr()
    assert cli.main([*map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def prediction_file(folder, name):
    return folder / ("p.json" if name == "qa" else "p.jsonl")


@pytest.mark.parametrize("name", FAST)
def test_a_run_is_scored_alike_by_every_command(name, root, finished, tmp_path, capsys):
    run, options = root / name, finished(name)
    score = read_object(run / "result.json")["score"]
    file = prediction_file(tmp_path, name)
    found = printed(capsys, "evaluate", "--model", run, "--predictions", file, "--cache", "none")
    assert found["score"] == pytest.approx(score, abs=1e-2)
    assert found["metric"] == options.get("metric", found["metric"]) == next(iter(score))
    task, data = options["task"], options["data"]
    columns = [f"--{key}={options[key]}" for key in ("text", "label", "metric") if key in options]
    split = [] if Path(data).is_dir() else ["--dev-share", "0.1"]
    own = ["--task", task, "--data", data, *columns, *split]
    again = printed(capsys, "score", *own, "--predictions", file)
    assert again["score"] == pytest.approx(score, abs=1e-2)
    exported = tmp_path / "exported"
    assert cli.main(["export", str(run), "--output", str(exported)]) == 0
    from_model = printed(capsys, "evaluate", "--model", exported, *own, "--max-length",
                         options.get("max_length", 16), "--cache", "none")  # fmt: skip
    assert from_model["score"] == pytest.approx(score, abs=1e-2)
    config = read_object(exported / "config.json")
    assert config.get("problem_type") == PROBLEM_TYPES.get(task)
    names = config.get("id2label")
    if name in LABELS:
        assert list(names.values()) == LABELS[name]
        assert read_object(run / "config.json")["derived"]["labels"] == LABELS[name]


def test_new_rows_are_scored_by_the_labels_of_the_run(root, finished, tmp_path, capsys):
    finished("single")
    new = reviews(tmp_path / "new.csv", 10, labels=("good", "bad"))
    words = ["evaluate", "--model", root / "single", "--data", new, "--cache", "none"]
    found = printed(capsys, *words)
    assert found["rows"] == 10 and "f1" not in found["score"]  # two of five classes occur
    assert printed(capsys, *words, "--dev-share", "0.4")["rows"] == 4
    strange = reviews(tmp_path / "strange.csv", 10, labels=("good", "worse"))
    words[words.index(new)] = strange
    assert cli.main([*map(str, words)]) == 2
    assert "the label 'worse' of 5 rows (lines 3, 5, 7, ...) is unknown" in capsys.readouterr().err


def test_rows_of_the_training_are_not_scored(root, finished, tmp_path, capsys):
    options = finished("single")
    words = ["evaluate", "--model", str(root / "single"), "--cache", "none"]
    score = printed(capsys, *words)["score"]
    assert printed(capsys, *words, "--dev-share", "0.1", "--split-seed", "0")["score"] == score
    for other in (["--dev-share", "0.5"], ["--split-seed", "3"], ["--split-seed", "-3"]):
        assert cli.main([*words, *other]) == 2
        assert other[0] in capsys.readouterr().err
    assert cli.main(words) == 0 and "has changed since" not in capsys.readouterr().err
    data = Path(options["data"])
    lines = data.read_text().splitlines(keepends=True)
    try:
        data.write_text("".join([*lines[:4], *lines[5:]]))
        assert cli.main(words) == 0
    finally:
        data.write_text("".join(lines))
    said = capsys.readouterr().err
    assert f"--data {data} has changed since the run was trained on it" in said
    assert cli.main([*words, "--task", "sst2", "--data", str(tmp_path), "--dev-share", "0.5"]) == 2
    assert "--dev-share is for own data; sst2 has a dev set of its own" in capsys.readouterr().err
    copied = str(shutil.copy(data, tmp_path / "copied.csv"))
    assert cli.main([*words, "--data", copied, "--split-seed", "3"]) == 2
    assert "--split-seed is of the split that --dev-share makes" in capsys.readouterr().err
    rows = printed(capsys, *words, "--data", copied, "--dev-share", "0.5", "--split-seed", "3")
    assert rows["rows"] > 20


def test_a_run_from_before_the_digest_goes_on(root, finished, tmp_path):
    finished("single")
    recorded = read_object(root / "single" / "config.json")
    derived = recorded["derived"]
    config = TrainConfig(**{k: v for k, v in recorded.items() if k != "derived"})
    run = RunDir(tmp_path / "run")
    folder.create(run, config, derived)
    changed = derived | {DEV_DIGEST: [derived[DEV_DIGEST][0], "other"]}
    with pytest.raises(InputError, match=f"have changed since it began: {DEV_DIGEST} was"):
        folder.create(run, config, changed)
    before = {k: v for k, v in derived.items() if k != DEV_DIGEST}
    run.config.write_text(json.dumps({**recorded, "derived": before}))
    assert folder.create(run, config, changed) == {}


def test_labels_are_given_where_a_folder_does_not_name_them(root, finished, tmp_path, capsys):
    options = finished("single")
    folder = tmp_path / "nameless"
    assert cli.main(["export", str(root / "single"), "--output", str(folder)]) == 0
    config = read_object(folder / "config.json")
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(5)}
    config["label2id"] = {f"LABEL_{i}": i for i in range(5)}
    (folder / "config.json").write_text(json.dumps(config))
    words = ["evaluate", "--model", folder, "--task", "classification", "--cache", "none",
             "--max-length", "16", "--batch-size", "8"]  # fmt: skip
    whole = ["--data", options["data"], "--text", "review", "--label", "stars"]
    copied = shutil.copy(options["data"], tmp_path / "copied.csv")
    expected = printed(capsys, "evaluate", "--model", root / "single", "--data", copied, "--cache",
                       "none", "--dev-share", "0.5", "--metric", "accuracy")  # fmt: skip
    named = printed(
        capsys, *words, *whole, "--dev-share", "0.5", "--labels", ",".join(sorted(STARS))
    )
    assert named["score"] == pytest.approx(expected["score"], abs=1e-2)
    few = reviews(tmp_path / "few.csv", 10, labels=("good", "bad"))
    words += ["--data", few, "--text", "review", "--label", "stars"]
    assert cli.main([*map(str, words)]) == 2
    assert "5 classes" in capsys.readouterr().err
    assert printed(capsys, *words, "--labels", ",".join(sorted(STARS)))["rows"] == 10


def test_questions_without_answers_are_recorded(root, finished, tmp_path, capsys):
    finished("qa")
    derived = read_object(root / "qa" / "config.json")["derived"]
    assert derived["unanswerable"] is True and derived["label"] == "answers"
    answered = squad(tmp_path / "new.json", stories(4))
    words = ["evaluate", "--model", root / "qa", "--data", answered, "--cache", "none"]
    # The run may give no answer, which the new data do not show.
    assert "HasAns_f1" in printed(capsys, *words)["score"]


def test_the_weights_of_classes_are_recorded(root, finished):
    finished("single")
    derived = read_object(root / "single" / "config.json")["derived"]
    assert derived["class_weights"] == [1.0] * 5  # as many rows of each
    assert derived["metric"] == "macro_f1"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_stopped_run_continues_to_the_same_bits(name, root, finished, tmp_path, monkeypatch):
    options = finished(name) | {"output": str(tmp_path / "run")}
    write = Journal.train

    def write_and_stop(self, step, metrics):
        write(self, step, metrics)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "train", write_and_stop)
        with pytest.raises(Interrupted):
            train(tiny.config(root, **options))
    assert not (tmp_path / "run" / "result.json").exists()
    train(tiny.config(root, **options))
    assert tiny.same(root / name, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_teacher_and_a_sweep(name, root, finished, tmp_path):
    options = finished(name) | {"output": str(tmp_path / "curve"), "density": "0.5,0.3"}
    options["teacher"] = str(root / name)
    assert cli.main(["sweep", *tiny.command(root, **options)[1:]]) == 0
    results = json.loads((tmp_path / "curve" / "result.json").read_text())
    assert [row["density"] for row in results["members"]] == [0.5, 0.3]
