"""Data and prediction files with any damage: read and encoded, or refused in one sentence."""

import json
import random

import pytest
from mutations import altered, damaged

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.scoring import score_file

SENTENCES = "sentence\tlabel\nthe cat sat\t1\n\u00e9t\u00e9 \u2028 warm\t0\n"
PAIRS = "index\tsentence1\tsentence2\tscore\n0\ta b\tc d\t3.5\n1\te\tf\t0.25\n"
CONTEXT = "the cat sat on the mat"
ANSWER = {"text": "cat", "answer_start": 4}
QUESTION = {"id": "q1", "question": "who sat?", "answers": [ANSWER]}
SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": [QUESTION]}]}]}
LINES = [{"sentence": "the cat", "label": 1}, {"sentence": "sat", "label": "negative"}]
FILES = {
    "tsv": ("sst2", "dev.tsv", SENTENCES.encode()),
    "no header": ("cola", "dev.tsv", b"gj04\t1\t\tthe cat sat\ngj04\t0\t*\tcat the\n"),
    "numbers": ("stsb", "dev.tsv", PAIRS.encode()),
    "lines": ("sst2", "dev.jsonl", "\n".join(map(json.dumps, LINES)).encode()),
    "squad": ("squad", "dev.json", json.dumps(SQUAD, indent=1).encode()),
    "squad v2": ("squad_v2", "dev.json", json.dumps(SQUAD).encode()),
}
PREDICTIONS = {
    "p.tsv": ("sst2", "dev.tsv", b"index\tprediction\n0\t1\n1\tnegative\n"),
    "p.jsonl": (
        "sst2",
        "dev.tsv",
        b'{"index": 0, "prediction": 1}\n{"index": 1, "prediction": "negative"}',
    ),
    "p.json": ("squad", "dev.json", b'{"q1": "cat"}'),
}


@pytest.fixture(scope="module")
def tokenizer():
    return demo.tokenizer()


def mutated(dice, content):
    """Damaged bytes, or the JSON of other values."""
    if dice.random() < 0.5:
        return damaged(dice, content)
    try:
        return json.dumps(altered(dice, json.loads(content))).encode()
    except ValueError:
        return damaged(dice, content)


def read_all(task, path, tokenizer):
    """Rows and their encoding; what is refused names the file."""
    try:
        rows = task.read(path, "dev")
    except InputError as error:
        assert path.name in str(error)
        assert len(str(error)) < 1000
        return None
    return task.encode(rows, tokenizer, 128)


@pytest.mark.parametrize("kind", FILES)
def test_no_damage_to_data_gives_a_traceback(tmp_path, tokenizer, kind):
    name, file, content = FILES[kind]
    task, path, dice = tasks.get(name), tmp_path / file, random.Random(kind)
    path.write_bytes(content)
    assert read_all(task, path, tokenizer) is not None
    for _ in range(200):
        path.write_bytes(mutated(dice, content))
        read_all(task, path, tokenizer)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_no_damage_to_predictions_gives_a_traceback(tmp_path, name):
    task, file, content = PREDICTIONS[name]
    data = tmp_path / file
    data.write_bytes(next(c for t, f, c in FILES.values() if (t, f) == (task, file)))
    path, dice = tmp_path / name, random.Random(name)
    path.write_bytes(content)
    assert score_file(task, data, path)["score"]
    for _ in range(200):
        path.write_bytes(mutated(dice, content))
        try:
            score_file(task, data, path)
        except InputError as error:
            assert name in str(error)
            assert len(str(error)) < 1000


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("dev.jsonl", rb'{"sentence": "a\ud800", "label": 1}', "line 1: .ud800 is half of a char"),
        ("dev.jsonl", b'{"sentence": "a", "label": ' + b"9" * 4400 + b"}", "number of 4400 digits"),
        ("dev.jsonl", b"[" * 100_000, "line 1: lists and objects are more than 100 deep"),
        ("dev.jsonl", b'{"label": 1, "label": 0, "sentence": "a"}', "line 1: 'label' is in one"),
        ("dev.tsv", b"label\tsentence\tlabel\n1\ta\t0", "line 1: two columns are called 'label'"),
        ("dev.tsv", b"\0" * 9999 + b"\n1\ta", "line 2: expected 1 tab-separated columns"),
        ("dev.tsv", b"\0" * 9999 + b"\n1", "line 2: no column label"),
        ("dev.tsv", b"\0a\t\0a\n1\ta", r"line 1: two columns are called '.x00a'"),
    ],
)
def test_records_that_say_two_things_or_too_much(tmp_path, file, content, said):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"{file} {said}|{file} line 1: .*{said}") as caught:
        tasks.get("sst2").read(tmp_path, "dev")
    assert len(str(caught.value)) < 500


def test_a_message_about_an_answer_is_short(tmp_path):
    long = "\0 " * 999
    answers = [{"text": long, "answer_start": 1}]
    questions = [{"id": "a", "question": "b", "answers": answers}]
    article = {"title": long, "paragraphs": [{"context": long + long, "qas": questions}]}
    (tmp_path / "dev.json").write_text(json.dumps({"data": [article]}))
    with pytest.raises(InputError, match="is not at character 1 of the context") as caught:
        tasks.get("squad_v2").read(tmp_path / "dev.json", "dev")
    assert len(str(caught.value)) < 550


@pytest.mark.parametrize("name", ["a" * 5000, "nul\0", "~nobody-of-this-name/x"])
def test_names_that_no_disk_has(name):
    with pytest.raises(InputError, match="does not exist") as caught:
        tasks.get("sst2").read(name, "dev")
    assert len(str(caught.value)) < 300
    with pytest.raises(InputError, match="does not exist"):
        score_file("sst2", "data", name)
