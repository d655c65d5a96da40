"""Labels, columns and splits of own data, and each thing that is said about them."""

import json
from decimal import Decimal

import numpy as np
import pandas
import pytest
from labelled import STARS, asked, reviews, sentences, write_csv, write_lines

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks.base import DataOptions
from mpjax.tasks.own.metrics import macro_f1
from mpjax.tasks.own.split import split_rows

CLASSES, VALUES = tasks.get("classification"), tasks.get("regression")


def table(path, pairs, header=("text", "label")):
    return write_csv(path, header, pairs)


def pairs(n, labels=("a", "b")):
    return [(f"text {i}", labels[i % len(labels)]) for i in range(n)]


# ------------------------------------------------------------------------------------ columns


def test_named_columns(tmp_path):
    task = CLASSES.fit(reviews(tmp_path / "r.csv"), asked(text="review", label="stars"))
    assert (task.texts, task.label, task.labels) == (("review",), "stars", tuple(sorted(STARS)))
    assert task.fitted == {
        "text": ["review"], "label": "stars", "labels": sorted(STARS), "metric": "accuracy",
    }  # fmt: skip


def test_obvious_columns_are_said(tmp_path, caplog):
    caplog.set_level("INFO", "mpjax")
    task = CLASSES.fit(reviews(tmp_path / "r.csv"), asked())
    assert (task.texts, task.label) == (("review",), "stars")
    assert "--text review" in caplog.text and "--label stars" in caplog.text


def test_pairs(tmp_path):
    rows = [(f"p{i}", f"h{i}", "yes" if i % 2 else "no") for i in range(24)]
    path = table(tmp_path / "x.csv", rows, ("premise", "hypothesis", "gold"))
    task = CLASSES.fit(path, asked(text="premise,hypothesis", label="gold"))
    assert task.read(path, "train")[0]["texts"][1].startswith("h")
    assert CLASSES.fit(path, asked(label="gold")).texts == ("premise", "hypothesis")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "reveiw"}, r"--text reveiw: .*id, review, stars; did you mean review\?"),
        ({"text": "review", "label": "Stars"}, r"did you mean stars\?"),
        ({"text": "a,b,c"}, "no such column"),
        ({"text": "review,review"}, "names 2 columns"),
    ],
)
def test_missing_columns(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        CLASSES.fit(reviews(tmp_path / "r.csv"), asked(**options))


def test_no_obvious_column(tmp_path):
    path = table(tmp_path / "x.csv", pairs(20), ("a", "b"))
    with pytest.raises(InputError, match=r"--text is missing: .* are a, b, and none"):
        CLASSES.fit(path, asked())
    path = table(tmp_path / "y.csv", [("x", "y", "z")] * 3, ("text", "review", "label"))
    with pytest.raises(InputError, match="several could be meant"):
        CLASSES.fit(path, asked())


def test_a_dev_file_with_other_columns(tmp_path):
    table(tmp_path / "train.csv", pairs(20))
    table(tmp_path / "dev.csv", pairs(20), ("text", "lable"))
    with pytest.raises(InputError, match=r"dev.csv has no such column.*text, lable"):
        CLASSES.fit(tmp_path, asked()).read(tmp_path, "dev")


def test_options_of_own_data_are_refused_elsewhere():
    for name in ("text", "label", "metric"):
        with pytest.raises(InputError, match=f"--{name} is for own data"):
            tasks.get("sst2").fit(None, DataOptions(**{name: "f1"}))
    assert tasks.get("sst2").fit(None, asked()) is tasks.get("sst2")


# ------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (("10", "9", "1"), ("1", "9", "10")),
        (("b", "a", "10"), ("10", "a", "b")),
        (("3.0", "3", "1.0"), ("1.0", "3")),
        ((True, False), ("False", "True")),
        ((1.0, 2.0, 1), ("1", "2")),
        (("0.5", "-1"), ("-1", "0.5")),
    ],
)
def test_order_of_labels(tmp_path, values, labels):
    records = [{"text": f"t {i}", "label": values[i % len(values)]} for i in range(30)]
    path = write_lines(tmp_path / "x.jsonl", records)
    task = CLASSES.fit(path, asked())
    assert task.labels == labels
    rows = task.read(path, "train") + task.read(path, "dev")
    assert {row["label"] for row in rows} == set(range(len(labels)))


def test_labels_are_said_with_their_rows(tmp_path, caplog):
    rows = pairs(20, ("good", "bad", "good", "Good"))
    with caplog.at_level("INFO"):
        CLASSES.fit(table(tmp_path / "x.csv", rows), asked())
    assert "x.csv: 3 labels (rows): Good (5), bad (5), good (10)" in caplog.text


def test_an_unknown_label_of_the_dev_file(tmp_path):
    table(tmp_path / "train.csv", pairs(20))
    table(tmp_path / "dev.csv", [*pairs(4), ("x", "c"), ("y", "c"), ("z", "d")])
    with pytest.raises(
        InputError, match=r"dev.csv: the label 'c' of 2 rows \(lines 6, 7\).*1 more"
    ):
        CLASSES.fit(tmp_path, asked())


def test_one_label_only(tmp_path):
    with pytest.raises(InputError, match="all 5 rows have the label 'a'"):
        CLASSES.fit(table(tmp_path / "x.csv", pairs(5, "a")), asked())


def test_numbers_that_are_no_classes(tmp_path):
    path = table(tmp_path / "x.csv", [(f"t{i}", i / 7) for i in range(60)])
    with pytest.raises(InputError, match=r"60 different labels.*--task regression"):
        CLASSES.fit(path, asked())
    names = (f"a\tb{i}" for i in range(2))
    with pytest.raises(InputError, match="holds a tab"):
        CLASSES.fit(table(tmp_path / "y.csv", pairs(8, tuple(names))), asked())


def test_rows_without_text_or_label_are_dropped_and_said(tmp_path, caplog):
    records = [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(30)]
    records[1:1] = [{"text": "  ", "label": "a"}, {"text": None, "label": "a"}, {"label": "b"}]
    records[9:9] = [{"text": "x", "label": None}, {"text": 17, "label": "a"}]
    path = write_lines(tmp_path / "x.jsonl", records)
    task = CLASSES.fit(path, asked())
    assert len(task.read(path, "train")) + len(task.read(path, "dev")) == 31
    assert caplog.text.count("3 rows (lines 2, 3, 4) dropped: empty text") == 1
    assert "1 row (line 10) dropped: no label" in caplog.text
    assert "are read as text: 1 row (line 11)" in caplog.text


def test_no_usable_row(tmp_path):
    with pytest.raises(InputError, match="none of 3 rows"):
        CLASSES.fit(table(tmp_path / "x.csv", [("", "a")] * 3), asked())
    path = write_lines(tmp_path / "x.jsonl", [{"text": ["a"], "label": "b"}])
    with pytest.raises(InputError, match=r"x.jsonl line 1: text must be text, found \['a'\]"):
        CLASSES.fit(path, asked())


def test_notes_about_balance_and_repeats(tmp_path, caplog):
    table(tmp_path / "train.csv", [*pairs(95, "a"), *[("text 1", "b"), ("text 2", "b")]])
    table(tmp_path / "dev.csv", [("text 1", "a"), ("other", "b")])
    CLASSES.fit(tmp_path, asked())
    assert "97.9% of the rows have the label a" in caplog.text
    assert "1 of 2 labels have fewer than 10 rows: b (2)" in caplog.text
    assert "equal texts with different labels among the training rows: 2 (in 4 rows)" in caplog.text
    assert "training rows too, word for word: 1;" in caplog.text
    caplog.clear()
    CLASSES.fit(table(tmp_path / "even.csv", pairs(40)), asked())
    assert "WARNING" not in caplog.text


# ------------------------------------------------------------------------------------ splits


def test_the_split_is_stratified_and_repeats(tmp_path):
    path = reviews(tmp_path / "r.csv", 100)
    task = CLASSES.fit(path, asked())
    train, dev = task.read(path, "train"), task.read(path, "dev")
    assert [sum(row["label"] == i for row in dev) for i in range(5)] == [2] * 5
    assert len(train) == 90 and not {str(row) for row in dev} & {str(row) for row in train}
    assert CLASSES.fit(path, asked()).read(path, "dev") == dev
    assert CLASSES.fit(path, asked(split_seed=1)).read(path, "dev") != dev
    assert len(CLASSES.fit(path, asked(dev_share=0.3)).read(path, "dev")) == 30


def test_equal_texts_stay_together():
    keys = [i // 2 for i in range(40)]
    train, dev = split_rows(keys, [0] * 40, 0.25, seed=3)
    assert len(dev) == 10 and not {keys[i] for i in train} & {keys[i] for i in dev}


def test_a_class_of_one_row_is_trained_on():
    train, dev = split_rows(list("abcdefg"), [0] * 6 + [1], 0.5, seed=0)
    assert 6 in train and len(dev) == 3


def test_too_few_rows_to_split(tmp_path):
    path = table(tmp_path / "x.csv", [("same", "a"), ("other", "b")])
    with pytest.raises(InputError, match="too few to split"):
        CLASSES.fit(path, asked()).read(path, "dev")


def test_files_of_a_folder_are_not_split(tmp_path):
    table(tmp_path / "train.csv", pairs(20))
    table(tmp_path / "dev.csv", pairs(4))
    task = CLASSES.fit(tmp_path, asked())
    assert [len(task.read(tmp_path, split)) for split in ("train", "dev")] == [20, 4]
    (tmp_path / "train.csv").unlink()
    with pytest.raises(InputError, match="no file train"):
        task.read(tmp_path, "train")


def test_without_a_share_all_rows_are_scored(tmp_path):
    path = table(tmp_path / "new.csv", pairs(8))
    task = CLASSES.fit(path, DataOptions(labels=("b", "a")))
    assert [row["label"] for row in task.read(path, "dev")] == [1, 0] * 4
    table(tmp_path / "f" / "train.csv", pairs(20))
    with pytest.raises(InputError, match="no dev file"):
        CLASSES.fit(tmp_path / "f", DataOptions()).read(tmp_path / "f", "dev")


# ------------------------------------------------------------------------------------ scores


def test_scores_of_classes(tmp_path):
    path = table(tmp_path / "x.csv", pairs(40, ("a", "b", "c", "d")))
    rows = CLASSES.fit(path, DataOptions()).read(path, "dev")
    logits = np.eye(4)[[0 if row["label"] == 3 else row["label"] for row in rows]]
    task = CLASSES.fit(path, DataOptions(metric="macro_f1"))
    score = task.score(rows, None, logits)
    assert list(score) == ["macro_f1", "accuracy"]
    assert score == pytest.approx({"accuracy": 75, "macro_f1": 100 * (2 / 3 + 1 + 1) / 4})
    with pytest.raises(InputError, match="--metric f1 is for two classes"):
        CLASSES.fit(path, DataOptions(metric="f1")).score(rows, None, logits)
    with pytest.raises(InputError, match="--metric is 'bleu'; classification has accuracy"):
        CLASSES.fit(path, DataOptions(metric="bleu"))


def test_f1_is_of_the_last_class_by_name_in_any_order(tmp_path):
    path = table(tmp_path / "x.csv", pairs(6, ("no", "yes")))
    found = []
    for labels in (("no", "yes"), ("yes", "no")):
        task = CLASSES.fit(path, DataOptions(metric="f1", labels=labels))
        assert task.labels == labels
        rows = task.read(path, "dev")
        logits = np.eye(2)[[labels.index("yes")] * len(rows)]
        found.append(task.score(rows, None, logits))
    assert found[0] == pytest.approx(found[1]) and found[0]["f1"] == pytest.approx(100 * 2 / 3)


def test_macro_f1_by_the_formula():
    rng = np.random.default_rng(0)
    gold, guess = rng.integers(0, 5, 200), rng.integers(0, 6, 200)
    scores = []
    for c in range(6):
        hit = np.sum((gold == c) & (guess == c))
        precision = hit / max(np.sum(guess == c), 1)
        recall = hit / max(np.sum(gold == c), 1)
        scores.append(2 * precision * recall / (precision + recall) if hit else 0.0)
    assert macro_f1(guess, gold) == pytest.approx(100 * np.mean(scores))


def test_predictions_hold_names(tmp_path):
    path = table(tmp_path / "x.csv", pairs(6, ("good", "bad")))
    task = CLASSES.fit(path, DataOptions())
    rows = task.read(path, "dev")
    logits = np.eye(2)[[1 - row["label"] for row in rows]]
    for name in ("p.tsv", "p.jsonl"):
        written = task.write_predictions(tmp_path / name, rows, None, logits)
        assert "good" in (tmp_path / name).read_text()
        assert task.read_predictions(tmp_path / name) == written
    (tmp_path / "p.jsonl").write_text(json.dumps({"index": 0, "prediction": "fine"}))
    with pytest.raises(InputError, match=r"line 1: unknown label 'fine'.*bad, good"):
        task.read_predictions(tmp_path / "p.jsonl")


def test_regression(tmp_path, caplog):
    texts = sentences(30)
    path = table(tmp_path / "x.csv", [(text, 20 * i) for i, text in enumerate(texts)])
    task = VALUES.fit(path, asked())
    assert "mean 290 and standard deviation 173" in caplog.text
    rows = task.read(path, "train")
    assert (len(rows), task.num_labels) == (27, 1)
    logits = np.array([[row["label"] / 9 - 1] for row in rows])
    assert task.score(rows, None, logits) == pytest.approx({"pearson": 100, "spearman": 100})
    task.write_predictions(tmp_path / "p.tsv", rows, None, logits)
    assert task.read_predictions(tmp_path / "p.tsv")[2] == pytest.approx(logits[2, 0])
    assert next(iter(VALUES.fit(path, asked(metric="spearman")).fitted["metric"])) == "s"


def test_decimal_columns_are_numbers(tmp_path):
    frame = pandas.DataFrame(
        {"text": sentences(4), "label": [Decimal("1.50"), Decimal(2), Decimal("-0.25"), Decimal(0)]}
    )
    frame.to_parquet(tmp_path / "x.parquet")
    rows = VALUES.fit(tmp_path / "x.parquet", DataOptions()).read(tmp_path / "x.parquet", "dev")
    assert [row["label"] for row in rows] == [1.5, 2.0, -0.25, 0.0]


def test_values_that_are_no_numbers(tmp_path):
    rows = [("a", "1.5"), ("b", "2,5"), ("c", "three"), ("d", "nan"), ("e", "1_0")]
    with pytest.raises(InputError, match=r"label of 4 rows \(lines 3, 4, 5, ...\) .*'2,5'"):
        VALUES.fit(table(tmp_path / "x.csv", rows), asked())
    with pytest.raises(InputError, match=r"no number, or beyond float32, such as '1e39'"):
        VALUES.fit(table(tmp_path / "z.csv", [("a", "1.5"), ("b", "1e39")]), asked())
    with pytest.raises(InputError, match="every row has the value 1"):
        VALUES.fit(table(tmp_path / "y.csv", pairs(4, ("1", "1.0"))), asked())


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_a_metric_of_two_classes_is_refused_before_training(metric, tmp_path):
    two, three = (table(tmp_path / f"{n}.csv", pairs(24, "abc"[:n])) for n in (2, 3))
    assert CLASSES.fit(two, asked(metric=metric)).metric == metric
    with pytest.raises(InputError, match=f"--metric {metric} is for two classes, and there are 3"):
        CLASSES.fit(three, asked(metric=metric))


def test_several_labels_of_a_row_are_no_class(tmp_path):
    rows = [{"text": f"text {i}", "labels": ["joy", "anger"][: 1 + i % 2]} for i in range(20)]
    with pytest.raises(InputError, match=r"line 1: labels is .*but a row has one label"):
        CLASSES.fit(write_lines(tmp_path / "x.jsonl", rows), asked())


def test_labels_of_any_script_are_labels(tmp_path):
    names = ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "New\u00a0York")
    assert set(CLASSES.fit(table(tmp_path / "x.csv", pairs(24, names)), asked()).labels) == set(
        names
    )
