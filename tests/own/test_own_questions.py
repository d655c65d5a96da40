"""Questions of own data: every form of file, answers without a start, questions without answers."""

import json
import logging

import numpy as np
import pandas
import pytest
from labelled import asked, squad, stories, write_csv, write_lines

from mpjax import cli, tasks
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.base import DataOptions
from mpjax.tasks.repairing import with_repair

QUESTIONS = tasks.get("qa")
PASSAGE = "mira gave the red drum to tolo , and tolo put it in the hall ."


def flat(rows):
    return [
        {
            "context": row["context"], "question": row["question"],
            "answer": (row["answers"]["text"] or [""])[0],
            "answer_start": (row["answers"]["answer_start"] or [""])[0],
        }
        for row in rows
    ]  # fmt: skip


def table(path, *records, header=("context", "question", "answer", "answer_start")):
    return write_csv(path, header, records)


def read(path, options=None, repair=False):
    task = with_repair(QUESTIONS, repair).fit(path, options or DataOptions())
    return task, task.read(path, "dev")


# ------------------------------------------------------------------------------------ forms


FORMS = {
    "squad.json": squad,
    "document.json": lambda path, rows: path.write_text(json.dumps({"data": rows}, indent=1)),
    "list.json": lambda path, rows: path.write_text(json.dumps(rows)),
    "indented list.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "lines.json": write_lines,
    "hub.jsonl": write_lines,
    "hub.parquet": lambda path, rows: pandas.DataFrame(rows).to_parquet(path),
    "json in cells.csv": lambda path, rows: pandas.DataFrame(
        [row | {"answers": json.dumps(row["answers"])} for row in rows]
    ).to_csv(path, index=False),
    "squad's answers.jsonl": lambda path, rows: write_lines(
        path, [row | {"answers": [{"text": row["answers"]["text"][0],
                                   "answer_start": row["answers"]["answer_start"][0]}]}
               for row in rows]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_forms_that_hold_the_same(tmp_path, name):
    rows = stories(6)
    FORMS[name](tmp_path / name, rows)
    task, found = read(tmp_path / name)
    assert found == rows
    assert task.fitted == {
        "text": ["context", "question"], "label": "answers", "labels": [], "metric": "f1",
        "unanswerable": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.jsonl", "x.parquet"])
def test_columns_of_answers_and_starts(tmp_path, name):
    rows, path = stories(6), tmp_path / name
    frame = pandas.DataFrame(flat(rows))
    if path.suffix in (".csv", ".tsv"):
        frame.to_csv(path, index=False, sep="," if path.suffix == ".csv" else "\t")
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    task, found = read(path)
    assert [row["answers"] for row in found] == [row["answers"] for row in rows]
    assert task.fitted["label"] == "answer,answer_start"
    # The recorded columns say all that reading needs.
    again = QUESTIONS.fit(path, DataOptions(text="context,question", label=task.fitted["label"]))
    assert again == task


def test_columns_by_other_names(tmp_path):
    path = table(tmp_path / "x.csv", (PASSAGE, "who ?", "mira", 0), header=("p", "q", "a", "at"))
    _, found = read(path, DataOptions(text="p,q", label="a,at"))
    assert found[0]["answers"] == {"text": ["mira"], "answer_start": [0]}
    assert found[0]["id"] == "2"
    with pytest.raises(InputError, match="name two columns, of the passage and of the question"):
        read(path, DataOptions(text="q", label="a"))
    with pytest.raises(InputError, match=r"--text is missing: .* p, q, a, at"):
        read(path)


def test_a_folder_of_official_names(tmp_path, caplog):
    rows = stories(8)
    squad(tmp_path / "train-v1.1.json", rows[:6])
    squad(tmp_path / "dev-v1.1.json", rows[5:])
    task = QUESTIONS.fit(tmp_path, asked())
    assert [len(task.read(tmp_path, split)) for split in ("train", "dev")] == [6, 3]
    assert "training rows too, word for word: 1;" in caplog.text


def test_data_sets_of_the_hub(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = stories(6)
    stored = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows[:4]),
         "validation": datasets.Dataset.from_list(rows[4:])}
    )  # fmt: skip
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: stored)
    task = QUESTIONS.fit("hub:someone/stories", asked())
    assert task.read("hub:someone/stories", "dev") == rows[4:]


def test_ids_that_repeat_give_way_to_line_numbers(tmp_path, caplog):
    caplog.set_level("INFO", "mpjax")
    records = [[7, PASSAGE, "who ?", "mira"], [7, PASSAGE, "where ?", "hall"]]
    path = table(tmp_path / "x.csv", *records, header=("id", "context", "question", "answer"))
    assert [row["id"] for row in read(path)[1]] == ["2", "3"]
    assert "the column id does not tell the questions apart" in caplog.text
    records[0][0] = 8
    path = table(tmp_path / "y.csv", *records, header=("id", "context", "question", "answer"))
    assert [row["id"] for row in read(path)[1]] == ["8", "7"]


# ------------------------------------------------------------------------------------ starts


@pytest.mark.parametrize("start", ["", "-1", -1, None, float("nan")])
def test_an_answer_without_a_start_is_found_where_it_stands_once(tmp_path, start):
    record = {"context": PASSAGE, "question": "who ?", "answer": "red  drum", "answer_start": start}
    _, (found,) = read(write_lines(tmp_path / "x.jsonl", [record]))
    assert found["answers"] == {"text": ["red drum"], "answer_start": [PASSAGE.index("red")]}


def test_starts_as_pandas_writes_them_beside_empty_cells(tmp_path):
    path = table(tmp_path / "x.csv", (PASSAGE, "who ?", "mira", "0.0"), (PASSAGE, "?", "", ""))
    assert read(path)[1][0]["answers"]["answer_start"] == [0]


def test_uncertain_and_empty_questions_are_dropped_and_said(tmp_path, caplog):
    path = table(
        tmp_path / "x.csv",
        (PASSAGE, "who ?", "mira", ""), (PASSAGE, "to whom ?", "tolo", ""),
        (PASSAGE, "what ?", "a kettle", ""), ("", "who ?", "mira", ""), (PASSAGE, " ", "mira", 0),
        (PASSAGE, "to whom ?", "tolo", PASSAGE.index("tolo")),
    )  # fmt: skip
    assert [row["id"] for row in read(path)[1]] == ["2", "7"]
    assert "2 rows (lines 5, 6) dropped: empty passage or question" in caplog.text
    assert "1 row (line 4) dropped: the answer does not stand in the passage" in caplog.text
    assert "1 row (line 3) dropped: the answer stands in the passage several times" in caplog.text
    assert caplog.text.count("dropped: ") == 3


def test_answers_that_are_left_out_beside_others_are_said(tmp_path, caplog):
    answers = json.dumps([PASSAGE.split()[0], "mira", "a kettle"])
    path = table(tmp_path / "x.csv", (PASSAGE, "who ?", answers, ""))
    (row,) = read(path)[1]
    assert len(row["answers"]["text"]) < 3
    assert "of the answers of 1 row (line 2) some are left out" in caplog.text


def test_wrong_starts_are_refused_or_mended(tmp_path, caplog):
    path = table(
        tmp_path / "x.csv",
        (PASSAGE, "who ?", "mira", 1), (PASSAGE, "what ?", "kettle", 3),
        (PASSAGE, "?", "drum", "x"), (PASSAGE, "where ?", "hall", PASSAGE.index("hall")),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"3 faults.*line 2 question 2: .*mends 2 and leaves out"):
        read(path)
    with caplog.at_level(logging.WARNING, "mpjax"):
        _, found = read(path, repair=True)
    assert [(row["id"], row["answers"]["answer_start"][0]) for row in found] == [
        ("2", 0), ("4", PASSAGE.index("drum")), ("5", PASSAGE.index("hall")),
    ]  # fmt: skip
    assert "mended: 1 answers that are not at their start" in caplog.text
    assert caplog.text.count("left out: ") == 1


def test_faults_of_the_nested_form(tmp_path):
    rows = stories(4)
    rows[1]["answers"]["answer_start"][0] += 1
    path = squad(tmp_path / "x.json", rows)
    with pytest.raises(InputError, match=r"question q1: the answer .*--repair, which mends 1"):
        read(path)
    assert read(path, repair=True)[1] == read(squad(tmp_path / "y.json", stories(4)))[1]


def test_a_faulty_file_is_scored_after_repair(tmp_path, capsys):
    rows = stories(4)
    rows[1]["answers"]["answer_start"][0] += 1
    rows[2]["answers"]["text"][0] = "zebra"
    path, guesses = squad(tmp_path / "x.json", rows), tmp_path / "p.json"
    right = {row["id"]: row["answers"]["text"][0] for row in rows if row is not rows[2]}
    guesses.write_text(json.dumps(right))
    for name in ("qa", "squad"):
        words = ["score", "--task", name, "--data", str(path), "--predictions", str(guesses)]
        assert cli.main(words) == 2
        assert "or give --repair, which mends 1 and leaves out 1" in capsys.readouterr().err
        assert cli.main([*words, "--repair"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["rows"], found["score"]["f1"]) == (3, 100)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"answers": {"text": ["a"], "answer_start": [1, 2]}}, "line 1: 1 answers have 2 starts"),
        ({"answers": {"text": [["a"]], "answer_start": [1]}}, r"an answer must be text.*\['a'\]"),
        ({"answers": "zebra"}, r"none of 1 questions can be used.*--text, where the passage comes"),
        ({"answers": [{"answer": "a"}]}, "line 1: an answer has no 'text', but answer"),
        ({"answers": {"x": 1}}, "line 1: an answer has no 'text', but x"),
        ({"answers": ""}, "none of 1 questions has an answer in answers"),
        ({"context": 1.5, "question": ["a"]}, "line 1: question must be text"),
    ],
)
def test_answers_of_no_known_form(tmp_path, record, message):
    whole = {"context": PASSAGE, "question": "who ?", "answers": "mira"} | record
    with pytest.raises(InputError, match=message):
        read(write_lines(tmp_path / "x.jsonl", [whole]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"data": 3\n}', "'data' must be a list"),
        ('{\n"questions": []\n}', "no 'data'"),
        ('{\n"data": [{"question": "a"}, 3]\n}', "row 2: expected an object"),
        ('{"data": [{"paragraphs": 3}]}', "'paragraphs' must be a list"),
        ("{", "not JSON"),
    ],
)
def test_damaged_documents(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.json")


def test_brackets_in_a_csv_are_text(tmp_path):
    path = table(tmp_path / "x.csv", ("see [1] there", "what ?", "[1]", "4"))
    assert read(path)[1][0]["answers"] == {"text": ["[1]"], "answer_start": [4]}


# ------------------------------------------------------------------------------------ no answers


@pytest.mark.parametrize("form", ["squad.json", "x.csv"])
def test_questions_without_answers_make_it_squad_v2(tmp_path, form, caplog):
    caplog.set_level("INFO", "mpjax")
    rows, path = stories(6, unanswered=2), tmp_path / form
    squad(path, rows) if form == "squad.json" else pandas.DataFrame(flat(rows)).to_csv(path)
    task, found = read(path)
    assert task.fitted["unanswerable"] is True
    assert "2 of 6 questions have no answer" in caplog.text
    perfect = {row["id"]: (row["answers"]["text"] or [""])[0] for row in found}
    scores = task.score_predictions(found, perfect)
    assert (scores["f1"], scores["NoAns_f1"], scores["HasAns_exact_match"]) == (100, 100, 100)


def test_what_a_run_learned_about_missing_answers_holds_for_other_data(tmp_path, caplog):
    with_all, some = (
        squad(tmp_path / "a.json", stories(4)),
        squad(tmp_path / "b.json", stories(4, 1)),
    )
    assert QUESTIONS.fit(with_all, DataOptions(unanswerable=True)).unanswerable
    assert "trained on none" not in caplog.text
    assert QUESTIONS.fit(some, DataOptions(unanswerable=False)).unanswerable
    assert "the run was trained on none" in caplog.text
    none = squad(tmp_path / "c.json", stories(4, 4))
    assert QUESTIONS.fit(none, DataOptions(unanswerable=True)).unanswerable
    assert "100.0% of the questions have no answer" in caplog.text


# ------------------------------------------------------------------------------------ the rest


def test_a_passage_lies_on_one_side_of_the_split(tmp_path):
    rows = [row | {"question": f"{row['question']} {i}"} for row in stories(20) for i in range(3)]
    rows = [row | {"id": f"{i}"} for i, row in enumerate(rows)]
    path = write_lines(tmp_path / "x.jsonl", rows)
    task = QUESTIONS.fit(path, asked(dev_share=0.2))
    train, dev = task.read(path, "train"), task.read(path, "dev")
    assert (len(train), len(dev)) == (48, 12)
    assert not {row["context"] for row in train} & {row["context"] for row in dev}
    one = write_lines(tmp_path / "y.jsonl", [rows[0] | {"id": str(i)} for i in range(5)])
    with pytest.raises(InputError, match="5 rows with 1 different texts are too few to split"):
        QUESTIONS.fit(one, asked()).read(one, "train")


def test_scores_and_predictions_are_those_of_squad(tmp_path):
    path = squad(tmp_path / "x.json", stories(5))
    task = QUESTIONS.fit(path, DataOptions(metric="exact_match"))
    rows = task.read(path, "dev")
    encoded = task.encode(rows, demo.tokenizer(), 64)
    logits = np.zeros((*encoded.arrays["input_ids"].shape, 2))
    places = np.arange(len(encoded))
    logits[places, encoded.arrays["start_positions"], 0] = 9
    logits[places, encoded.arrays["end_positions"], 1] = 9
    scores = task.score(rows, encoded, logits)
    assert scores == {"exact_match": 100, "f1": 100} and next(iter(scores)) == "exact_match"
    written = task.write_predictions(tmp_path / "p.json", rows, encoded, logits)
    assert task.read_predictions(tmp_path / "p.json") == written
    assert scores == tasks.get("squad").score(rows, encoded, logits)
    with pytest.raises(InputError, match="--metric is 'accuracy'; qa has f1, exact_match"):
        QUESTIONS.fit(path, DataOptions(metric="accuracy"))


def test_questions_with_several_answers_are_said(tmp_path, caplog):
    start = PASSAGE.index("tolo")
    path = table(tmp_path / "x.csv", (PASSAGE, "?", "mira", 0), (PASSAGE, "?", "tolo", start))
    read(path)
    assert (
        "equal questions with different answers among the training rows: 1 (in 2 rows)"
        in caplog.text
    )
