"""The page on own data: its files are read, its commands are commands, its messages are said."""

import json
import re
import shlex
from pathlib import Path

import pytest
import tiny
from labelled import squad, stories

from mpjax import cli, tasks
from mpjax.tasks.base import DataOptions

PAGE = Path(__file__).parents[2] / "docs" / "own-data.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(
    re.findall(r"^[^\n`]*`([\w./-]+)`[^\n]*\n\n```(?:csv|tsv|jsonl)\n(.*?)```", TEXT, re.M | re.S)
)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with the files of the page, in which its commands are given."""
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (tmp_path / "pairs" / "dev.jsonl").write_text(FILES["pairs/train.jsonl"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language=""):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)
    return [text for name, text in found if name == language]


def commands():
    lines = "\n".join(blocks()).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("mpjax")]


READ = {
    "reviews.csv": ("classification", "review", "stars", ("1", "2", "3", "4", "5"), 6),
    "pairs": ("classification", "premise,hypothesis", "gold",
              ("contradiction", "entailment", "neutral"), 3),
    "grades.tsv": ("regression", "essay", "grade", (), 3),
    "people.jsonl": ("tokens", None, None, ("B-LOC", "B-PER", "I-PER", "O"), 2),
    "questions.csv": ("qa", None, None, (), 3),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_the_files_hold_what_the_page_says(site, name):
    task, text, label, labels, rows = READ[name]
    fitted = tasks.get(task).fit(name, DataOptions(text=text, label=label))
    assert fitted.labels == labels
    assert len(fitted.read(name, "dev")) == rows
    assert {path.partition("/")[0] for path in FILES} == {*READ, "faulty.csv"}


def test_the_question_without_a_start_and_the_one_without_an_answer(site):
    task = tasks.get("qa").fit("questions.csv", DataOptions())
    rows = task.read("questions.csv", "dev")
    assert [row["answers"]["answer_start"] for row in rows] == [[36], [28], []]
    assert task.fitted["unanswerable"]


def test_the_messages(site, caplog):
    tasks.get("classification").fit("faulty.csv", DataOptions())
    [block] = blocks("text")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    few = "faulty.csv: 2 of 2 labels have fewer than 10 rows: no (2), yes (2)"
    assert sorted(said) == sorted([*block.splitlines(), few])


@pytest.mark.slow
def test_the_real_run_goes_from_file_to_pipeline(site, capsys):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    # Articles differ in size, so that five are the largest.
    titles = [f"article {min(i % 7, i % 8)}" for i in range(120)]
    rows = [row | {"title": title} for row, title in zip(stories(120), titles, strict=True)]
    squad(site / "train-v1.1.json", rows)
    make, compare = blocks("python")
    exec(compile(make, str(PAGE), "exec"), {})
    capsys.readouterr()
    train, evaluate, export = commands()[-3:]
    train = re.sub(r" --epochs \d+", "", train)  # replaced by --steps
    tiny.model(site / "minilm")
    fast = "--steps 6 --warmup 1 --max-length 16 --devices 1 --cache none --batch-size 8"
    assert cli.main(shlex.split(f"{train} {fast}")[1:]) == 0
    capsys.readouterr()
    assert cli.main(shlex.split(f"{evaluate} --cache none")[1:]) == 0
    accuracy = json.loads(capsys.readouterr().out)["score"]["accuracy"]
    assert cli.main(shlex.split(export)[1:]) == 0
    capsys.readouterr()
    exec(compile(compare, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.strip() == f"{accuracy:.2f}"


def test_the_table_has_every_task_and_metric():
    table = {row[0]: row[-1] for row in re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", TEXT, re.M)}
    for name, metrics in table.items():
        assert set(re.findall(r"[a-z]+_?[a-z]*\d?", metrics)) >= set(tasks.get(name).metrics)
    assert set(table) == {"classification", "regression", "tokens", "qa"}
