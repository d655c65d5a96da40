"""Files of GLUE's tasks under their authors' names, rows without labels, and quoted tables."""

import json
import logging
from pathlib import Path

import pytest

from mpjax import tasks
from mpjax.errors import InputError

NLI = {"sentence1": "A b", "sentence2": "C d", "annotator_labels": ["neutral"], "pairID": "1"}


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def said(caplog):
    with caplog.at_level(logging.INFO, "mpjax"):
        yield lambda: caplog.text


@pytest.mark.parametrize("folder", ["", "multinli_1.0", "MNLI/multinli_1.0"])
def test_raw_multinli_and_its_rows_without_a_gold_label(folder, tmp_path, said):
    rows = [NLI | {"gold_label": label} for label in ("neutral", "-", "entailment")]
    put(tmp_path / folder / "multinli_1.0_train.jsonl", lines(*rows))
    put(tmp_path / folder / "multinli_1.0_dev_matched.jsonl", lines(rows[0]))
    header = "gold_label\tsentence1_binary_parse\tsentence1\tsentence2"
    put(tmp_path / folder / "multinli_1.0_dev_mismatched.txt", f"{header}\nentailment\t( A )\tA\tB")
    task = tasks.get("mnli")
    found = task.read(tmp_path, "train")
    assert found == [{"premise": "A b", "hypothesis": "C d", "label": i} for i in (1, 0)]
    assert "multinli_1.0_train.jsonl: 1 of 3 rows have no label and are left out" in said()
    dev = task.read(tmp_path, "dev")
    assert [(row["part"], row["label"]) for row in dev] == [("matched", 1), ("mismatched", 0)]


def test_snli_is_read_as_mnli(tmp_path):
    put(tmp_path / "snli_1.0_dev.jsonl", lines(NLI | {"gold_label": "contradiction"}))
    assert [row["label"] for row in tasks.get("mnli").read(tmp_path, "dev")] == [2]


@pytest.mark.parametrize("label", ["", "-", -1, None, "-1"])
def test_a_split_without_labels_is_refused(label, tmp_path):
    put(tmp_path / "dev.jsonl", lines({"sentence": "a", "label": label}))
    with pytest.raises(InputError, match=r"dev\.jsonl: none of its 1 rows has a label; give a"):
        tasks.get("sst2").read(tmp_path, "dev")


def test_mrpc_with_a_byte_order_mark_and_with_glues_list_of_dev_pairs(tmp_path):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    put(tmp_path / "msr_paraphrase_train.txt", header + '1\t1\t2\tA "b\tC\r\n0\t3\t4\tD\tE\r\n')
    put(tmp_path / "msr_paraphrase_test.txt", header + "1\t5\t6\tF\tG\r\n")
    task = tasks.get("mrpc")

    def firsts(split):
        return [row["sentence1"] for row in task.read(tmp_path, split)]

    assert (firsts("train"), firsts("dev")) == (['A "b', "D"], ["F"])
    put(tmp_path / "dev_ids.tsv", "3\t4\n")
    assert (firsts("train"), firsts("dev")) == (['A "b'], ["D"])


def test_cola_joins_both_dev_sets(tmp_path):
    for i, name in enumerate(("in_domain_train", "in_domain_dev", "out_of_domain_dev")):
        put(tmp_path / "cola_public" / "raw" / f"{name}.tsv", f"gj04\t{i % 2}\t*\tText {i}\n")
    task = tasks.get("cola")
    assert [row["sentence"] for row in task.read(tmp_path, "train")] == ["Text 0"]
    assert [row["sentence"] for row in task.read(tmp_path, "dev")] == ["Text 1", "Text 2"]


def test_similarities_have_no_header_and_sources_at_some_ends(tmp_path):
    start = "main-news\theadlines\t2015\t1"
    text = f'{start}\t4.8\tA "b\tC\n{start}\t0\tD\tE\tsource\tother\n'
    put(tmp_path / "stsbenchmark" / "sts-train.csv", text)
    rows = tasks.get("stsb").read(tmp_path, "train")
    assert rows[0] == {"sentence1": 'A "b', "sentence2": "C", "label": 4.8}
    assert rows[1]["sentence2"] == "E"
    put(tmp_path / "stsbenchmark" / "sts-dev.csv", "a\tb\n")
    with pytest.raises(InputError, match=r"sts-dev\.csv line 1: expected 7 tab"):
        tasks.get("stsb").read(tmp_path, "dev")


def test_sentiment_trees_and_their_neutral_sentences(tmp_path, said):
    text = "(3 (2 A) (4 (3 fine) (2 -LRB-)))\n(2 (2 So) (2 so))\n(0 (2 No) (1 !))\n"
    put(tmp_path / "trees" / "train.txt", text)
    rows = tasks.get("sst2").read(tmp_path, "train")
    assert rows == [{"sentence": "A fine (", "label": 1}, {"sentence": "No !", "label": 0}]
    assert "1 of 3 rows have no label" in said()
    put(tmp_path / "trees" / "train.txt", "A fine day\t1\n")
    with pytest.raises(InputError, match=r"train\.txt line 1: expected a tree"):
        tasks.get("sst2").read(tmp_path, "train")


@pytest.mark.parametrize("name", ["quora_duplicate_questions.tsv", "questions.csv"])
def test_quoras_questions_get_a_dev_set(name, tmp_path, said):
    cells = [["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]]
    cells += [[str(i), "1", "2", f'Is "{i}", it?', "What\nnow?", str(i % 2)] for i in range(40)]
    separator = "\t" if name.endswith("tsv") else ","
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in cells]
    put(tmp_path / name, "\n".join(separator.join(row) for row in quoted) + "\n")
    task = tasks.get("qqp")
    train, dev = task.read(tmp_path, "train"), task.read(tmp_path, "dev")
    both = {row["question1"] for row in train} | {row["question1"] for row in dev}
    assert (len(train), len(dev), len(both)) == (36, 4, 40)
    assert train[0]["question1"].startswith('Is "') and train[0]["question2"] == "What\nnow?"
    assert "has no splits: 4 of its 40 rows are taken for dev" in said()


def test_superglues_recognising_entailment(tmp_path):
    put(tmp_path / "val.jsonl", lines({"premise": "A", "hypothesis": "B", "label": "entailment"}))
    assert tasks.get("rte").read(tmp_path, "dev")[0]["sentence1"] == "A"


# Quoted tables.


def test_a_table_that_pandas_wrote_loses_its_quotes(tmp_path, said):
    pandas = pytest.importorskip("pandas")
    texts = ['He said "no".', '"', "plain", "a\ttab", "two\nlines", '"all of it"', 'end"']
    frame = pandas.DataFrame({"sentence": texts, "label": [0, 1] * 3 + [1]})
    frame.to_csv(tmp_path / "train.tsv", sep="\t", index=False)
    assert [row["sentence"] for row in tasks.get("sst2").read(tmp_path, "train")] == texts
    assert "cells are quoted as in csv files, and read without the quotes" in said()
    frame.to_csv(tmp_path / "dev.csv", index=False, quoting=1, lineterminator="\r\n")
    assert [row["sentence"] for row in tasks.get("sst2").read(tmp_path, "dev")] == texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('label,sentence\n1,good\n0,"bad\n1,fine\n', r"line 3: a quote is not closed"),
        ('sentence,label\n"a film,1\nbad,0\n"worse,0\n', r"line 2: a quote is not closed, or not"),
        ("sentence,label,label\na,1,0\n", "line 1: two columns are called label; rename one"),
        ('sentence,label\n"two\nlines",1\na,b,c\n', "line 4: expected 2 cells"),
    ],
)
def test_a_csv_that_cannot_be_read_for_sure_is_refused(text, message, tmp_path):
    put(tmp_path / "dev.csv", text)
    with pytest.raises(InputError, match=message):
        tasks.get("sst2").read(tmp_path, "dev")


@pytest.mark.parametrize(
    "text",
    [
        'He said " no .',
        '"a quote at the start',
        '"the whole text"',
        '"one" and "two"',
        '"doubled ""within"" " and on',
        "''",
    ],
)
def test_quotes_of_official_files_stay(text, tmp_path, said):
    put(tmp_path / "train.tsv", f"sentence\tlabel\n{text}\t1\nplain\t0\n")
    assert tasks.get("sst2").read(tmp_path, "train")[0]["sentence"] == text
    assert said() == ""


def test_one_lone_quote_makes_all_quotes_plain(tmp_path):
    put(tmp_path / "train.tsv", 'sentence\tlabel\n"so ""it"" is"\t1\nhe said " no\t0\n')
    rows = tasks.get("sst2").read(tmp_path, "train")
    assert rows[0]["sentence"] == '"so ""it"" is"'


def test_a_quoted_table_with_a_row_too_short_is_named(tmp_path):
    put(tmp_path / "train.tsv", 'sentence\tlabel\n"so ""it"" is"\t1\nshort\n')
    with pytest.raises(InputError, match=r"train\.tsv line 3: expected 2 cells .*found 1"):
        tasks.get("sst2").read(tmp_path, "train")
