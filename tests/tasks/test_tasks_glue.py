"""GLUE from official files, jsonl and the hub, and errors about broken files."""

import json
from pathlib import Path

import numpy as np
import pytest

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import demo

TSV = {
    "sst2": ("sentence\tlabel", ["a fine day \t1", "dull\t0"]),
    "cola": (None, ["gj04\t1\t\tSo it goes.", "gj04\t0\t*\tGoes it so."]),
    "mrpc": (
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        ['1\t7\t8\tHe said " no .\tHe said no .', '0\t7\t9\tA\t"B'],
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel",
        ["0\tA b\tC d\tnot_entailment", "1\tE\tF\tentailment"],
    ),
    "wnli": ("index\tsentence1\tsentence2\tlabel", ["0\tA b\tC d\t1", "1\tE\tF\t0"]),
    "qnli": (
        "index\tquestion\tsentence\tlabel",
        ["0\tWho?\tHe.\tentailment", "1\tE\tF\tnot_entailment"],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        ["0\t1\t2\tWho?\tWhat?\t0", "1\t3\t4\tE\tF\t1"],
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        ["0\tg\tf\ty\to\tn\tn\tA b\tC d\t4.750", "1\tg\tf\ty\to\tn\tn\tE\tF\t0"],
    ),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence1\tsentence2"
        "\tlabel1\tgold_label",
        ["0\tp\tq\tg\t( A )\tA b\tC d\tneutral\tcontradiction", "1\tp\tq\tg\tx\tE\tF\tx\tneutral"],
    ),
}
FIRST = {  # first row of each, in the hub's column names
    "sst2": {"sentence": "a fine day ", "label": 1},
    "cola": {"sentence": "So it goes.", "label": 1},
    "mrpc": {"sentence1": 'He said " no .', "sentence2": "He said no .", "label": 1},
    "rte": {"sentence1": "A b", "sentence2": "C d", "label": 1},
    "wnli": {"sentence1": "A b", "sentence2": "C d", "label": 1},
    "qnli": {"question": "Who?", "sentence": "He.", "label": 0},
    "qqp": {"question1": "Who?", "question2": "What?", "label": 0},
    "stsb": {"sentence1": "A b", "sentence2": "C d", "label": 4.75},
    "mnli": {"premise": "A b", "hypothesis": "C d", "label": 2},
}


@pytest.fixture(scope="module")
def demo_tokenizer():
    return demo.tokenizer()


def write(path: Path, header: str | None, lines: list[str], end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = end.join([*([header] if header else []), *lines]) + end
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("name", TSV)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_official_tsv(name: str, end: str, tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", *TSV[name], end=end)
    rows = tasks.get(name).read(tmp_path, "train")
    assert len(rows) == 2
    assert rows[0] == FIRST[name]


@pytest.mark.parametrize("name", TSV)
@pytest.mark.parametrize("as_text", [True, False])
def test_jsonl_with_hub_columns(name: str, as_text: bool, tmp_path: Path) -> None:
    task = tasks.get(name)
    record = dict(FIRST[name])
    if as_text and task.labels:
        record["label"] = task.labels[record["label"]]
    (tmp_path / "train.jsonl").write_text(json.dumps(record) + "\n\n", encoding="utf-8")
    assert task.read(tmp_path, "train") == [FIRST[name]]


@pytest.mark.parametrize("name", TSV)
def test_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(path: str, config: str, split: str) -> datasets.Dataset:
        asked.append((path, config, split))
        return datasets.Dataset.from_list([{**FIRST[name], "idx": 0}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    task = tasks.get(name)
    assert task.read(None, "train") == [FIRST[name]]
    dev = task.read("hub", "dev")
    assert {k: v for k, v in dev[0].items() if k != "part"} == FIRST[name]
    splits = [split for *_, split in asked]
    if name == "mnli":
        assert splits == ["train", "validation_matched", "validation_mismatched"]
        assert [row["part"] for row in dev] == ["matched", "mismatched"]
    else:
        assert splits == ["train", "validation"]
    assert {ask[:2] for ask in asked} == {("nyu-mll/glue", name)}


def test_a_hub_out_of_reach_is_a_matter_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(path: str, config: str, split: str) -> datasets.Dataset:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(InputError, match=r"no route.*give --data"):
        tasks.get("sst2").read(None, "dev")


@pytest.mark.parametrize("place", ["dev.tsv", "validation.tsv", "SST-2/dev.tsv", "sst2/dev.tsv"])
def test_where_files_are_looked_for(place: str, tmp_path: Path) -> None:
    path = write(tmp_path / place, *TSV["sst2"])
    write(tmp_path / "train.tsv", "sentence\tlabel", ["other\t0"])
    task = tasks.get("sst2")
    assert task.read(tmp_path, "dev")[0] == FIRST["sst2"]
    assert task.read(str(path), "train")[0] == FIRST["sst2"]  # a file is read for any split


def test_sentences_keep_quotes_and_unicode_separators(tmp_path: Path) -> None:
    odd = 'He said " and \u2028 went\u0085 \x0c on \r far'
    write(tmp_path / "dev.tsv", "sentence\tlabel", [f"{odd}\t1", "next\t0"])
    rows = tasks.get("sst2").read(tmp_path, "dev")
    assert [row["sentence"] for row in rows] == [odd, "next"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_bytes("\ufeffsentence\tlabel\nfine\t1\n".encode())
    assert tasks.get("sst2").read(tmp_path, "dev")[0]["sentence"] == "fine"


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("sst2", "dev.tsv", "", r"dev\.tsv: no rows"),
        ("sst2", "dev.tsv", "sentence\tlabel\n", r"dev\.tsv: no rows"),
        (
            "sst2",
            "dev.tsv",
            "sentence\tlabel\na\t1\nb\n",
            r"dev\.tsv line 3: expected 2 tab.*found 1",
        ),
        ("sst2", "dev.tsv", "sentence\tlabel\na\tb\t1\n", r"dev\.tsv line 2: expected 2 .*found 3"),
        (
            "sst2",
            "dev.tsv",
            "sentence\tlabel\n\na\t2\n",
            r"line 3: unknown label '2'.*1 or positive",
        ),
        ("sst2", "dev.tsv", "text\tlabel\na\t1\n", r"line 2: no column sentence.*text, label"),
        ("cola", "dev.tsv", "a\t1\tb\n", r"dev\.tsv line 1: expected 4 .*found 3"),
        (
            "rte",
            "dev.tsv",
            "sentence1\tsentence2\tlabel\na\tb\tmaybe\n",
            r"'maybe'.*not_entailment",
        ),
        (
            "stsb",
            "dev.tsv",
            "sentence1\tsentence2\tscore\na\tb\thigh\n",
            r"line 2: .*number.*'high'",
        ),
        ("stsb", "dev.tsv", "sentence1\tsentence2\tscore\na\tb\tnan\n", r"line 2: .*number"),
        (
            "qqp",
            "dev.tsv",
            "question1\tquestion2\tis_duplicate\na\tb\t1\nc\n",
            r"line 3: expected 3",
        ),
        (
            "sst2",
            "dev.jsonl",
            '{"sentence": "a", "label": 1}\n{"sent',
            r"dev\.jsonl line 2: not JSON",
        ),
        ("sst2", "dev.jsonl", "[1]\n", r"dev\.jsonl line 1: expected an object"),
        ("sst2", "dev.jsonl", '{"sentence": "a", "label": -1}', r"none of its 1 rows has a label"),
        ("sst2", "dev.jsonl", '{"sentence": "a", "label": -2}', r"line 1: unknown label -2"),
        ("sst2", "dev.jsonl", '{"sentence": "a", "label": true}', r"line 1: unknown label True"),
        ("sst2", "dev.jsonl", '{"sentence": null, "label": 1}', r"line 1: sentence must be text"),
        ("sst2", "dev.jsonl", '{"sentence": "a"}', r"line 1: no column label"),
    ],
)
def test_broken_files(name: str, file: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        tasks.get(name).read(tmp_path, "dev")


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_bytes(b"sentence\tlabel\ncaf\xe9\t1\n")
    with pytest.raises(InputError, match=r"dev\.tsv line 2: not UTF-8"):
        tasks.get("sst2").read(tmp_path, "dev")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dev\.tsv, dev\.jsonl, dev\.csv, validation\.tsv"):
        tasks.get("sst2").read(tmp_path, "dev")
    with pytest.raises(InputError, match="does not exist"):
        tasks.get("sst2").read(tmp_path / "nowhere", "dev")


def test_the_few_lines_known_broken_in_qqp_are_passed_over(tmp_path: Path) -> None:
    lines = [f"{i}\t1\t2\tWho {i}?\tWhat?\t0" for i in range(2000)]
    lines[7:8] = ["7\t1\t2\tWho", "is it?\tWhat?\t0"]
    write(tmp_path / "train.tsv", TSV["qqp"][0], lines)
    assert len(tasks.get("qqp").read(tmp_path, "train")) == 1999
    lines[20] = "20"
    write(tmp_path / "train.tsv", TSV["qqp"][0], lines)
    with pytest.raises(InputError, match=r"line 22: expected 6"):
        tasks.get("qqp").read(tmp_path, "train")


def test_mnli_scores_both_dev_sets(tmp_path: Path, demo_tokenizer) -> None:
    header = TSV["mnli"][0]
    line = "0\tp\tq\tg\tx\tA\tB\tx\t{}"
    task = tasks.get("mnli")
    write(tmp_path / "dev_matched.tsv", header, [line.format("neutral")] * 4)
    rows = task.read(tmp_path, "dev")
    logits = np.eye(3)[[1, 1, 1, 0]]
    assert task.score(rows, task.encode(rows, demo_tokenizer, 8), logits) == {"accuracy": 75.0}
    write(tmp_path / "dev_mismatched.tsv", header, [line.format("entailment")] * 2)
    rows = task.read(tmp_path, "dev")
    logits = np.eye(3)[[1, 1, 1, 0, 0, 1]]
    scores = task.score(rows, task.encode(rows, demo_tokenizer, 8), logits)
    assert scores == {"accuracy": 75.0, "accuracy_mismatched": 50.0}
    assert next(iter(scores)) == task.metric
    rows = task.read(tmp_path / "dev_mismatched.tsv", "dev")
    assert len(rows) == 2


def test_encoding_cuts_pairs_and_marks_their_halves(demo_tokenizer) -> None:
    task = tasks.get("rte")
    rows = [{"sentence1": "mira smiled .", "sentence2": "the drum " * 20, "label": 1}]
    encoded = task.encode(rows, demo_tokenizer, 12)
    ids = demo_tokenizer.convert_ids_to_tokens(encoded.arrays["input_ids"][0])
    assert ids[:6] == ["[CLS]", "mira", "smiled", ".", "[SEP]", "the"]
    assert ids[-1] == "[SEP]"
    assert encoded.arrays["token_type_ids"][0].tolist() == [0] * 5 + [1] * 7
    assert encoded.arrays["labels"].tolist() == [1]
    with pytest.raises(InputError, match="--max-length 3"):
        task.encode(rows, demo_tokenizer, 3)


def test_regression_labels_are_float32(demo_tokenizer) -> None:
    rows = [{"sentence1": "mira", "sentence2": "yori", "label": 3.8}]
    labels = tasks.get("stsb").encode(rows, demo_tokenizer, 8).arrays["labels"]
    assert labels.dtype == np.float32
    assert labels.tolist() == [np.float32(3.8)]
