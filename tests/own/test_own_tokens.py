"""Tags of words: entities, first tokens, scores, and the head that learns them."""

import json

import jax
import numpy as np
import pytest
import tiny
from labelled import asked, write_csv, write_lines

from mpjax import models, tasks
from mpjax.errors import InputError
from mpjax.models.hf.folder import stored_head
from mpjax.tasks import demo
from mpjax.tasks.base import DataOptions
from mpjax.tasks.own.entities import entities, entity_scores
from mpjax.tasks.own.tokens import first_tokens

TOKENS = tasks.get("tokens")
RECORDS = [
    {
        "tokens": ["mira", "gave", "tolo", "the", "drum"],
        "ner_tags": ["B-PER", "O", "B-PER", "O", "O"],
    },
    {"tokens": ["new", "drum", "town", "."], "ner_tags": ["B-LOC", "I-LOC", "I-LOC", "O"]},
]  # fmt: skip
LABELS = ("B-LOC", "B-PER", "I-LOC", "O")


def lines(path, n=12):
    records = [dict(RECORDS[i % 2]) for i in range(n)]
    for i, record in enumerate(records):
        record["tokens"] = [*record["tokens"][:-1], f"drum{i}"]
    return write_lines(path, records)


# ------------------------------------------------------------------------------------ entities


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-A I-A O B-A", {("A", 0, 1), ("A", 3, 3)}),
        ("B-A B-A I-A", {("A", 0, 0), ("A", 1, 2)}),
        ("I-A I-A I-B", {("A", 0, 1), ("B", 2, 2)}),  # IOB1
        ("I-A B-A", {("A", 0, 0), ("A", 1, 1)}),
        ("B-A I-B", {("A", 0, 0), ("B", 1, 1)}),
        ("S-A B-A E-A I-A", {("A", 0, 0), ("A", 1, 2), ("A", 3, 3)}),
        ("U-A B-A L-A O", {("A", 0, 0), ("A", 1, 2)}),
        ("O O", set()),
        ("B-a-b I-a-b", {("a-b", 0, 1)}),
    ],
)
def test_entities(tags, found):
    assert entities(tags.split()) == found


def test_entity_scores_count_exact_spans():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC"]]
    guess = [["B-PER", "O", "O", "B-LOC"], ["B-LOC", "B-LOC"]]
    # Predicted 4, true 3, equal 2: LOC at 3, and LOC at 1.
    assert entity_scores(guess, gold) == pytest.approx(
        {"f1": 100 * 4 / 7, "precision": 50.0, "recall": 100 * 2 / 3}
    )


# ------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("form", ["lists", "text", "csv", "json in csv", "conll"])
def test_forms(tmp_path, form):
    if form == "conll":
        path = tmp_path / "x.conll"
        blocks = [zip(r["tokens"], r["ner_tags"], strict=True) for r in RECORDS]
        text = "\n".join("".join(f"{w} _ {t}\n" for w, t in block) for block in blocks)
        path.write_text("-DOCSTART- -X- O\n\n# sent_id = 1\n# text = any words\n" + text)
    else:
        joined = [{k: " ".join(v) for k, v in record.items()} for record in RECORDS]
        path = (
            write_csv(
                tmp_path / "x.csv",
                ["tokens", "ner_tags"],
                [r.values() for r in joined]
                if form == "csv"
                else [[json.dumps(v) for v in r.values()] for r in RECORDS],
            )
            if "csv" in form
            else write_lines(tmp_path / "x.jsonl", RECORDS if form == "lists" else joined)
        )
    task = TOKENS.fit(path, DataOptions())
    assert (task.labels, task.metric) == (LABELS, "f1")
    assert task.read(path, "dev")[1] == {
        "words": ["new", "drum", "town", "."], "label": [0, 2, 2, 3],
    }  # fmt: skip


def test_tags_by_number_have_the_declared_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(names)}
    )
    rows = datasets.Dataset.from_dict({"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}, features)
    rows.to_parquet(tmp_path / "x.parquet")
    task = TOKENS.fit(tmp_path / "x.parquet", DataOptions())
    assert task.labels == ("O", "B-PER")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"tokens": ["a", "b"], "ner_tags": ["O"]}, r"line 3: 2 words, 1 tags"),
        ({"tokens": {"a": 1}, "ner_tags": ["O"]}, "line 3: tokens must be a list"),
        ({"tokens": [["a"]], "ner_tags": ["O"]}, "line 3: tokens must be a list"),
        ({"tokens": ["a", None], "ner_tags": ["O", "O"]}, "line 3: tokens must be a list"),
        ({"tokens": "['a', 'b']", "ner_tags": "['O', 'O']"}, "line 3: .* text of a Python list"),
        ({"tokens": "['a' 'b']", "ner_tags": "['O' 'O']"}, "line 3: .* text of a Python list"),
        ({"tokens": ["a", "b"], "ner_tags": [0, -100]}, "line 3: a tag in ner_tags is negative"),
    ],
)
def test_bad_sentences(tmp_path, record, message):
    path = write_lines(tmp_path / "x.jsonl", [*RECORDS, record])
    with pytest.raises(InputError, match=message):
        TOKENS.fit(path, DataOptions())


def test_brackets_among_words_are_words(tmp_path):
    rows = [{"tokens": "[ a ]", "ner_tags": "O B-PER O"}, {"tokens": "# = #", "ner_tags": "O O O"}]
    task = TOKENS.fit(write_lines(tmp_path / "x.jsonl", rows), DataOptions())
    words = [row["words"] for row in task.read(tmp_path / "x.jsonl", "dev")]
    assert words == [["[", "a", "]"], ["#", "=", "#"]]


def test_equal_tags_of_different_types_stay_apart(tmp_path):
    rows = [{"tokens": ["a", "b", "c"], "ner_tags": [1.0, True, 0]}]
    task = TOKENS.fit(write_lines(tmp_path / "x.jsonl", rows), DataOptions())
    assert task.labels == ("0", "1", "True")


def test_a_line_without_a_tag(tmp_path):
    (tmp_path / "x.conll").write_text("a O\nb\n")
    with pytest.raises(InputError, match="line 2: expected a word and its tag, found 'b'"):
        TOKENS.fit(tmp_path / "x.conll", DataOptions())


def test_a_no_break_space_belongs_to_its_word(tmp_path):
    (tmp_path / "x.conll").write_text("10\u00a0000\tNN B-NUM\nAda O\r\n", newline="")
    task = TOKENS.fit(tmp_path / "x.conll", DataOptions())
    assert task.read(tmp_path / "x.conll", "dev")[0]["words"] == ["10\u00a0000", "Ada"]
    assert task.labels == ("B-NUM", "O")


def test_unknown_tags_of_the_dev_file(tmp_path):
    write_lines(tmp_path / "train.jsonl", RECORDS)
    write_lines(tmp_path / "dev.jsonl", [{"tokens": ["a"], "ner_tags": ["B-ORG"]}])
    with pytest.raises(InputError, match=r"'B-ORG' of 1 row \(line 1\)"):
        TOKENS.fit(tmp_path, asked())


def test_tags_without_iob_form(tmp_path, caplog):
    path = write_lines(tmp_path / "x.jsonl", [{"tokens": ["a", "b"], "tags": ["NOUN", "VERB"]}] * 4)
    task = TOKENS.fit(path, DataOptions())
    assert task.metric == "macro_f1" and "macro F1, not entities" in caplog.text
    rows = task.read(path, "dev")
    guess = {i: [0, 0] for i in range(4)}
    assert task.score_predictions(rows, guess) == pytest.approx(
        {"macro_f1": 100 / 3, "accuracy": 50}
    )
    with pytest.raises(InputError, match="is for IOB tags"):
        TOKENS.fit(path, DataOptions(metric="f1"))
    guess[0] = [0, -1]  # cut off by the length of the model: no class of its own
    assert task.score_predictions(rows, guess)["macro_f1"] == pytest.approx(100 * 8 / 11 / 2)


# ------------------------------------------------------------------------------------ encoding


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_first_tokens_carry_the_labels(tmp_path, family, caplog):
    words = models.load_tokenizer(tiny.model(tmp_path / "model", family))
    path = write_lines(tmp_path / "x.jsonl", RECORDS)
    task = TOKENS.fit(path, DataOptions())
    rows = task.read(path, "dev")
    encoded = task.encode(rows, words, 32)
    for i, row in enumerate(rows):
        at = np.flatnonzero(encoded.arrays["labels"][i] != -100)
        assert encoded.arrays["labels"][i, at].tolist() == row["label"]
        pieces = words.convert_ids_to_tokens(encoded.arrays["input_ids"][i, at].tolist())
        for word, piece in zip(row["words"], pieces, strict=True):
            assert word.startswith(piece.lstrip("Ġ"))
    perfect = np.eye(4)[np.maximum(encoded.arrays["labels"], 0)]
    assert task.score(rows, encoded, perfect)["f1"] == 100
    assert "no token" not in caplog.text
    cut = task.encode(rows, words, 4)
    task.note(rows, cut)
    assert "words have no token within --max-length 4" in caplog.text
    score = task.score(rows, cut, np.eye(4)[np.maximum(cut.arrays["labels"], 0)])
    assert score["accuracy"] < 60
    with pytest.raises(InputError, match="--max-length 2 leaves no room beside 2 special tokens"):
        task.encode(rows, words, 2)


def test_first_tokens_of_words_with_blanks_and_without_letters():
    words = ["new york", "", "x"]  # joined: "new york  x"
    offsets = [(0, 0), (0, 3), (3, 8), (10, 11)]
    assert first_tokens(words, offsets).tolist() == [-1, 0, -1, 2]


def test_predictions_of_tags(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", RECORDS)
    task = TOKENS.fit(path, DataOptions())
    rows = task.read(path, "dev")
    encoded = task.encode(rows, demo.tokenizer(), 5)
    logits = np.eye(4)[np.maximum(encoded.arrays["labels"], 0)]
    written = task.write_predictions(tmp_path / "p.jsonl", rows, encoded, logits)
    record = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert record["prediction"][0] == "B-PER" and record["prediction"][-1] is None
    assert task.read_predictions(tmp_path / "p.jsonl") == written
    for wrong, message in (("O", "list of tags"), (["Q"], "unknown tag 'Q'")):
        write_lines(tmp_path / "q.jsonl", [{"index": 0, "prediction": wrong}])
        with pytest.raises(InputError, match=message):
            task.read_predictions(tmp_path / "q.jsonl")
    with pytest.raises(InputError, match="row 0 has 1 tags and 5 words"):
        task.score_predictions(rows, {0: [1], 1: [1]})


# ------------------------------------------------------------------------------------ the head


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_transformers_loads_the_head(tmp_path, family):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tiny.model(tmp_path / "start", family)
    made = models.load_model(tmp_path / "start", "tokens", labels=LABELS)
    assert set(made.fresh) == {"classifier/kernel", "classifier/bias"}
    params = jax.tree.map(lambda x: x + 0.1, made.params)
    models.save_model(tmp_path / "saved", made.config, params, "tokens")
    assert stored_head(tmp_path / "saved") == "tokens"
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "saved").eval()
    assert theirs.config.id2label == dict(enumerate(LABELS))
    ids = np.arange(2 * 7).reshape(2, 7) + 5
    with torch.no_grad():
        expected = theirs(torch.tensor(ids)).logits.numpy()
    again = models.load_model(tmp_path / "saved", "tokens")
    assert not again.fresh and again.config.id2label == LABELS
    logits = again.module.apply({"params": again.params}, ids)
    np.testing.assert_allclose(logits, expected, rtol=2e-5, atol=2e-5)


def test_labels_in_another_order_move_the_classifier(tmp_path):
    tiny.model(tmp_path / "start")
    made = models.load_model(tmp_path / "start", "tokens", labels=("O", "B-X"))
    models.save_model(tmp_path / "saved", made.config, made.params, "tokens")
    moved = models.load_model(tmp_path / "saved", "tokens", labels=("B-X", "O"))
    kernel, other = (m.params["classifier"]["kernel"] for m in (made, moved))
    np.testing.assert_array_equal(kernel, other[:, ::-1])


def test_a_text_classifier_is_no_tagger(tmp_path):
    tiny.model(tmp_path / "start")
    made = models.load_model(tmp_path / "start", "classification", labels=("O", "B-X"))
    models.save_model(tmp_path / "saved", made.config, made.params, "classification")
    tagger = models.load_model(tmp_path / "saved", "tokens", labels=("O", "B-X"))
    assert set(tagger.fresh) == {"classifier/kernel", "classifier/bias"}
