"""Prediction files: written by `evaluate`, read and scored by `score`, refused with a reason."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

import mpjax
from mpjax import cli, models, tasks
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.base import Encoded, PredictingTask
from mpjax.tasks.demo import stories as demo_stories
from mpjax.tasks.scoring import score_file
from mpjax.tasks.seeds import Dice

CONTEXT = "mira gave the red drum to tolo ."
TEXT = {
    "sst2": "sentence\tlabel\n" + "".join(f"row {i}\t{i % 2}\n" for i in range(4)),
    "stsb": "sentence1\tsentence2\tscore\n"
    + "".join(f"a\tb\t{value}\n" for value in (0.0, 1.5, 5.0)),
    "mnli": "sentence1\tsentence2\tgold_label\n" + "a\tb\tneutral\n" * 2 + "a\tb\tentailment\n",
}


def put(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def questions(path: Path, answers: dict[str, str]) -> Path:
    """SQuAD file of one passage; an empty answer means none."""
    qas = [
        {
            "id": identity,
            "question": "who ?",
            "answers": [{"text": t, "answer_start": CONTEXT.index(t)} for t in [text] if t],
        }
        for identity, text in answers.items()
    ]
    paragraphs = [{"context": CONTEXT, "qas": qas}]
    return put(path, {"version": "1", "data": [{"title": "t", "paragraphs": paragraphs}]})


def submission(values) -> str:
    return "index\tprediction\n" + "".join(f"{i}\t{value}\n" for i, value in enumerate(values))


def scored(capsys, *words) -> dict:
    assert cli.main(["score", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


# ------------------------------------------------------------------------------------ scores


def test_questions(tmp_path, capsys):
    data = questions(tmp_path / "dev.json", {"a": "mira", "b": "the red drum", "c": "tolo"})
    guesses = put(tmp_path / "p.json", {"c": "mira", "b": "a red kettle", "a": "Mira!"})
    found = scored(capsys, "--task", "squad", "--data", data, "--predictions", guesses)
    assert found == {
        "task": "squad",
        "rows": 3,
        "metric": "f1",
        "score": pytest.approx({"f1": (100 + 50 + 0) / 3, "exact_match": 100 / 3}),
    }


def test_questions_with_and_without_an_answer(tmp_path, capsys):
    data = questions(tmp_path / "dev.json", {"a": "mira", "b": "", "c": "", "d": ""})
    guesses = put(tmp_path / "p.json", {"a": "mira", "b": "", "c": "tolo", "d": "tolo"})
    found = scored(capsys, "--task", "squad_v2", "--data", data, "--predictions", guesses)
    score = found["score"]
    assert (score["HasAns_f1"], score["NoAns_f1"], score["f1"]) == (100, pytest.approx(100 / 3), 50)
    assert {k.replace("f1", "exact_match") for k in score if "f1" in k} < set(score)


def test_classes_by_name_and_by_number_in_either_form_and_any_order(tmp_path, capsys):
    put(tmp_path / "dev.tsv", TEXT["sst2"])
    numbers, names = [0, 1, 1, 1], ["negative", "positive", "positive", "positive"]
    backwards = submission(names).splitlines(keepends=True)
    backwards = "".join([backwards[0], *reversed(backwards[1:])])
    lines = "".join(json.dumps({"index": i, "prediction": n}) + "\n" for i, n in enumerate(numbers))
    for name, content in {
        "n.tsv": submission(numbers), "t.tsv": submission(names), "b.tsv": backwards,
        "l.jsonl": lines,
    }.items():  # fmt: skip
        guesses = put(tmp_path / name, content)
        found = scored(capsys, "--task", "sst2", "--data", tmp_path, "--predictions", guesses)
        assert found["score"] == {"accuracy": 75.0}, name


def test_numbers(tmp_path, capsys):
    put(tmp_path / "dev.tsv", TEXT["stsb"])
    guesses = put(tmp_path / "p.tsv", submission([0.1, 1.6, 5.1]))
    found = scored(capsys, "--task", "stsb", "--data", tmp_path, "--predictions", guesses)
    assert found["score"] == pytest.approx({"pearson": 100.0, "spearman": 100.0})


def test_two_dev_sets_in_one_file_or_one_by_one(tmp_path, capsys):
    matched = put(tmp_path / "dev_matched.tsv", TEXT["mnli"])
    put(tmp_path / "dev_mismatched.tsv", TEXT["mnli"])
    right = ["neutral", "neutral", "entailment"]
    both = put(tmp_path / "both.tsv", submission([*right, *["neutral"] * 3]))
    one = put(tmp_path / "one.tsv", submission(right))
    words = ["--task", "mnli", "--predictions"]
    found = scored(capsys, *words, both, "--data", tmp_path)["score"]
    assert found == {"accuracy": 100.0, "accuracy_mismatched": pytest.approx(200 / 3)}
    assert scored(capsys, *words, one, "--data", matched)["score"] == {"accuracy": 100.0}
    with pytest.raises(InputError, match=r"no prediction for 3 of 6 rows \(3, 4, 5\)"):
        score_file("mnli", tmp_path, one)


def test_scoring_needs_no_jax(tmp_path):
    data = questions(tmp_path / "dev.json", {"a": "mira"})
    guesses = put(tmp_path / "p.json", {"a": "mira"})
    code = (
        "import sys; from mpjax import cli\n"
        f"cli.main(['score', '--task', 'squad', '--data', {str(data)!r}, '--predictions', "
        f"{str(guesses)!r}])\n"
        "sys.exit(str({'jax', 'flax', 'transformers'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(mpjax.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False
    )
    assert done.stderr.splitlines()[-1] == "set()"


# ---------------------------------------------------------------------------------- mistakes

ANSWERS = {"a": "mira", "b": "tolo"}
MISTAKES = {
    "missing": ("squad", {}, [r"p.json", "no prediction for 2 of 2 rows (a, b)", "--data", "dev."]),
    "one missing": ("squad", {"a": "x"}, ["1 of 2 rows (b)"]),
    "unknown": ("squad", {**ANSWERS, "z": ""}, ["1 of 3 predictions", "(z)", "not in the data"]),
    "many": ("squad", {**ANSWERS, **dict.fromkeys("tuvwxyz", "")}, ["7 of 9", "(t, u, v and 4 mo"]),
    "list": ("squad", [ANSWERS], ["p.json", "object of question id", "found list"]),
    "number": ("squad", {"a": 3, "b": ""}, ["p.json question a", "3", "not text"]),
    "n best": ("squad", {"a": [{"text": "x"}], "b": []}, ["question a", "not text"]),
    "no json": ("squad", '{"a": "x",\n "b": }', ["p.json line 2", "not JSON"]),
    "not utf-8": ("squad", b'{"a": "\xff"}', ["p.json", "UTF-8"]),
    "short": ("sst2", submission([0, 1]), ["p.tsv", "2 of 4 rows (2, 3)"]),
    "long": ("sst2", submission([0] * 6), ["2 of 6 predictions", "(4, 5)"]),
    "no header": ("sst2", "0\t1\n1\t1\n", ["p.tsv line 2", "no index", "first line"]),
    "header": ("sst2", "index\tlabel\n0\t1\n", ["line 2", "no prediction", "index, label"]),
    "columns": ("sst2", "index\tprediction\n0\t1\t1\n", ["line 2", "found 3"]),
    "class": ("sst2", submission([0, 1, 2, 0]), ["p.tsv line 4", "'2'", "0 or negative"]),
    "twice": ("sst2", submission([0, 1]) + "0\t1\n", ["line 4", "index 0", "line 2"]),
    "index": ("sst2", submission([0]) + "q7\t1\n", ["line 3", "row number", "'q7'"]),
    "negative": ("sst2", submission([0]) + "-1\t1\n", ["line 3", "'-1'"]),
    "regression": ("stsb", submission([0.5, "high", 1]), ["line 3", "number", "'high'"]),
    "nan": ("stsb", submission([0.5, "nan", 1]), ["line 3", "'nan'"]),
    "empty": ("sst2", "", ["no prediction for 4 of 4"]),
    "no file": ("squad", None, ["--predictions", "does not exist"]),
    "masked words": ("demo_mlm", {}, ["demo_mlm", "no prediction files"]),
    "task": ("squid", {}, ["squid", "squad"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_wrong_is_named(case, tmp_path, capsys):
    task, content, parts = MISTAKES[case]
    if task in TEXT:
        data = put(tmp_path / "dev.tsv", TEXT[task])
    else:
        data = questions(tmp_path / "dev.json", ANSWERS)
    path = tmp_path / ("p.tsv" if task in TEXT else "p.json")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        put(path, content)
    words = ["score", "--task", task, "--data", str(data), "--predictions", str(path)]
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    (message,) = captured.err.splitlines()
    assert captured.out == ""
    for part in parts:
        assert part in message


@pytest.mark.parametrize("words", [["--task", "squad"], ["--predictions", "p.json"]])
def test_an_option_that_is_missing_is_named(words, capsys):
    assert cli.main(["score", *words]) == 2
    assert " is missing (see: mpjax score --help)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "path", "part"),
    [
        ("squad", "p.tsv", ".json file"),
        ("sst2", "p.json", ".tsv or .jsonl file"),
        ("sst2", "folder.tsv", "is a folder"),
        ("sst2", "file/p.tsv", "is a file, not a folder"),
        ("demo_mlm", "p.tsv", "no prediction files"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_model_is_read(
    task, path, part, tmp_path, capsys
):
    (tmp_path / "folder.tsv").mkdir()
    (tmp_path / "file").touch()
    words = ["evaluate", "--model", "/not/here", "--task", task, "--predictions"]
    assert cli.main([*words, str(tmp_path / path)]) == 2
    assert part in capsys.readouterr().err


# --------------------------------------------------------------------- written by `evaluate`


def data_of(task: str, folder: Path) -> Path:
    """Eight rows of the toy language in the files of a task."""
    if task.startswith("squad"):
        paragraphs = []
        for i in range(8):
            row = demo_stories.question(Dice(3, 0, i))
            texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
            answers = [
                {"text": text, "answer_start": start}
                for text, start in zip(texts, starts, strict=True)
                if i % 2 or task == "squad"
            ]
            qa = {"id": f"q{i}", "question": row["question"], "answers": answers}
            paragraphs.append({"context": row["context"], "qas": [qa]})
        return put(folder / "dev.json", {"data": [{"title": "t", "paragraphs": paragraphs}]})
    texts = ["sentence"] if task == "sst2" else ["sentence1", "sentence2"]
    lines = ["\t".join([*texts, "label"])]
    for i in range(8):
        text = demo.sentiment(Dice(3, 0, i))["sentence"]
        lines.append("\t".join([*[text] * len(texts), str(i % 2)]))
    return put(folder / "dev.tsv", "\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
@pytest.mark.parametrize("task", ["sst2", "mnli", "stsb"])
def test_written_predictions_are_read_back(task, suffix, tmp_path):
    chosen = tasks.get(task)
    assert isinstance(chosen, PredictingTask)
    numbers, classes = np.array([[0.25], [3.5], [-1.0]]), np.eye(chosen.num_labels)
    logits = numbers if task == "stsb" else classes[[1, 0, 0]]
    path = tmp_path / f"p{suffix}"
    empty = Encoded({}, np.zeros(0, np.int32))
    written = chosen.write_predictions(path, [{}] * 3, empty, logits)
    wanted = logits[:, 0] if task == "stsb" else np.argmax(logits, axis=-1)
    assert chosen.read_predictions(path) == written == dict(enumerate(wanted.tolist()))


@pytest.mark.parametrize(
    ("task", "suffix"),
    [("squad", ".json"), ("squad_v2", ".json"), ("sst2", ".tsv"), ("stsb", ".jsonl"),
     ("mnli", ".tsv")],
)  # fmt: skip
def test_predictions_that_evaluate_writes_have_its_score(task, suffix, tmp_path, capfd, programs):
    chosen = tasks.get(task)
    tiny.model(tmp_path / "base")
    head = {"qa": "qa"}.get(chosen.head, "classification")
    labels = ("LABEL_0",) if chosen.head == "regression" else chosen.labels or None
    fresh = models.load_model(tmp_path / "base", head, labels=labels, seed=1)
    model = models.save_model(
        tmp_path / "model", fresh.config, fresh.params, fresh.head, tmp_path / "base"
    )
    data, path = data_of(task, tmp_path / "data"), tmp_path / "out" / f"guesses{suffix}"
    words = ["--task", task, "--data", str(data), "--predictions", str(path)]
    capfd.readouterr()
    evaluate = ["evaluate", "--model", str(model), "--max-length", "32", "--cache", "none"]
    assert cli.main([*evaluate, *words]) == 0
    found = json.loads(capfd.readouterr().out)
    assert scored(capfd, *words) == {k: found[k] for k in ("task", "rows", "metric", "score")}
    assert cli.main([*evaluate, *words[:-2]]) == 0
    assert json.loads(capfd.readouterr().out) == found
    beside = {"squad": {"nbest_"}, "squad_v2": {"nbest_", "null_odds_"}}.get(task, set())
    written = {p.name for p in path.parent.iterdir()}
    assert written == {path.name, *(prefix + path.name for prefix in beside)}
    if task == "mnli":  # as the benchmark's server requires
        values = [line.split("\t")[1] for line in path.read_text().splitlines()[1:]]
        assert set(values) <= set(chosen.labels) and len(values) == 8


@pytest.mark.parametrize(
    "option", [("--dev-share", "0.5"), ("--split-seed", "4"), ("--labels", "negative,positive")]
)
def test_options_of_own_data_are_refused_for_other_tasks(option, tmp_path, capsys):
    words = ["--task", "sst2", "--data", str(tmp_path), "--predictions", "p.tsv"]
    assert cli.main(["score", *words, *option]) == 2
    assert f"{option[0]} is for own data" in capsys.readouterr().err


def test_the_order_of_labels_changes_no_score(tmp_path, capsys):
    rows = zip("abcde", ("yes", "no", "no", "yes", "no"), strict=True)
    put(tmp_path / "dev.csv", "text,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    guesses = put(tmp_path / "p.tsv", submission(["yes", "no", "yes", "no", "no"]))
    words = ("--task", "classification", "--data", tmp_path / "dev.csv", "--predictions", guesses)
    plain = scored(capsys, *words)["score"]
    assert plain["f1"] == pytest.approx(50.0)
    for labels in ("yes,no", "no,yes"):
        assert scored(capsys, *words, "--labels", labels)["score"] == plain


@pytest.mark.parametrize("share", ["nan", "1.5", "-1", "0"])
def test_a_share_of_the_rows_is_one(share, tmp_path, capsys):
    words = ["--task", "classification", "--data", "x.csv", "--predictions", "p.tsv"]
    assert cli.main(["score", *words, "--dev-share", share]) == 2
    assert "--dev-share is" in capsys.readouterr().err
