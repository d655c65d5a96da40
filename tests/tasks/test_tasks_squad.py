"""Extractive question answering: files, windows, spans, official metrics."""

import copy
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.base import Encoded
from mpjax.tasks.squad import files as squad_files
from mpjax.tasks.squad import metrics as squad_metrics
from mpjax.tasks.squad.task import SquadTask
from mpjax.tasks.squad.windows import PairTemplate, max_context, window_ranges

TASK = tasks.get("squad")
V2 = tasks.get("squad_v2")
assert isinstance(TASK, SquadTask) and isinstance(V2, SquadTask)

CONTEXT = "mira gave the red drum to tolo . yori put the blue kettle in the old xq mill ."


@pytest.fixture(scope="module")
def demo_tokenizer():
    return demo.tokenizer()


def row(question: str, *answers: str, context: str = CONTEXT, identity: str = "q1") -> dict:
    return {
        "id": identity,
        "title": "t",
        "context": context,
        "question": question,
        "answers": {
            "text": list(answers),
            "answer_start": [context.index(answer) for answer in answers],
        },
    }


def official(*qas: dict, context: str = CONTEXT) -> dict:
    return {
        "version": "1.1",
        "data": [{"title": "Toys", "paragraphs": [{"context": context, "qas": list(qas)}]}],
    }


def qa(identity: str = "a1", text: str = "tolo", **changes) -> dict:
    start = CONTEXT.index(text) if text in CONTEXT else 0
    answers = [{"text": text, "answer_start": start}]
    return {"id": identity, "question": "who?", "answers": answers} | changes


def put(folder: Path, document, name: str = "dev.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def gold_logits(encoded: Encoded, width: int) -> np.ndarray:
    """Logits of a model that is right in every window, [CLS] included."""
    marks = [encoded.arrays["start_positions"], encoded.arrays["end_positions"]]
    return np.stack([9.0 * np.eye(width)[mark] for mark in marks], axis=-1)


# ------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["dev-v1.1.json", "dev.json", "squad/dev-v1.1.json"])
def test_official_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    put(tmp_path, official(qa("a1"), qa("a2", "mira")), name)
    rows = TASK.read(tmp_path, "dev")
    assert rows == TASK.read(tmp_path / name, "dev")
    assert [r["id"] for r in rows] == ["a1", "a2"]
    assert rows[0]["answers"] == {"text": ["tolo"], "answer_start": [CONTEXT.index("tolo")]}
    assert rows[0]["context"] == CONTEXT
    assert rows[0]["title"] == "Toys"


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    given = [row("who?", "tolo")]
    asked = []

    def load(path: str, config: str | None, split: str) -> datasets.Dataset:
        asked.append((path, config, split))
        return datasets.Dataset.from_list(given)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert TASK.read(None, "dev") == given
    assert V2.read("hub", "train") == given
    assert asked == [
        ("rajpurkar/squad", None, "validation"),
        ("rajpurkar/squad_v2", None, "train"),
    ]


def test_questions_without_answer_belong_to_v2(tmp_path: Path) -> None:
    impossible = qa("a2", answers=[], is_impossible=True, plausible_answers=[{"text": "mira"}])
    path = put(tmp_path, official(qa(), impossible))
    assert V2.read(path, "dev")[1]["answers"] == {"text": [], "answer_start": []}
    with pytest.raises(InputError, match=r"question a2: no answer.*squad_v2"):
        TASK.read(path, "dev")


def broken(change) -> dict:
    document = official(qa("a1"), qa("a2"))
    change(document["data"][0]["paragraphs"][0], document)
    return document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, d: d.pop("data"), r"dev\.json: no 'data'; the keys are version"),
        (lambda p, d: d.update(data={}), r"'data' must be a list"),
        (lambda p, d: d.update(data=[]), r"no questions"),
        (lambda p, d: d.update(data=["x"]), r"article 0: expected an object with 'paragraphs'"),
        (lambda p, d: p.pop("context"), r"article 0 \('Toys'\) paragraph 0: no 'context'"),
        (lambda p, d: p.update(qas=None), r"paragraph 0: 'qas' must be a list, found 'None'"),
        (lambda p, d: p["qas"][1].pop("question"), r"question a2: no 'question'"),
        (lambda p, d: p["qas"][1].pop("id"), r"paragraph 0 question 1: no 'id'"),
        (lambda p, d: p["qas"][1].update(id="a1"), r"question a1: this id is used twice"),
        (lambda p, d: p["qas"][1].pop("answers"), r"question a2: no 'answers'"),
        (lambda p, d: p["qas"][1]["answers"][0].pop("text"), r"question a2: no 'text'"),
        (
            lambda p, d: p["qas"][1]["answers"][0].update(answer_start="7"),
            r"question a2: answer_start must be an integer, found '7'",
        ),
        (
            lambda p, d: p["qas"][1]["answers"][0].update(answer_start=3),
            r"question a2: the answer 'tolo' is not at character 3 of the context.*'a ga'",
        ),
        (
            lambda p, d: p["qas"][1]["answers"][0].update(
                answer_start=CONTEXT.index("tolo") - len(CONTEXT)
            ),
            r"question a2: the answer 'tolo' is not at character -",
        ),
    ],
)
def test_broken_files_name_the_record(change, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        TASK.read(put(tmp_path, broken(change)), "dev")


def test_broken_json_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text('{"data":\n [}', encoding="utf-8")
    with pytest.raises(InputError, match=r"dev\.json line 2: not JSON"):
        TASK.read(tmp_path, "dev")
    with pytest.raises(InputError, match=r"train-v1\.1\.json, train\.json"):
        TASK.read(tmp_path, "train")


# ---------------------------------------------------------------------------------- windows


def test_template_is_the_tokenizers_own(demo_tokenizer) -> None:
    template = PairTemplate.of(demo_tokenizer)
    first, second = "mira put it down", "the drum is red ."
    whole = demo_tokenizer(first, second)
    parts = [demo_tokenizer(text, add_special_tokens=False).input_ids for text in (first, second)]
    ids, types, at = template.join(np.array(parts[0], np.int32), np.array(parts[1], np.int32))
    assert ids.tolist() == whole.input_ids
    assert types.tolist() == whole.token_type_ids
    assert ids[at:].tolist() == whole.input_ids[at:]
    assert ids[at] == parts[1][0]
    assert template.special == 3


@pytest.mark.parametrize("n", [0, 1, 5, 6, 7, 30])
@pytest.mark.parametrize("advance", [1, 4, 6, 50])
def test_windows_cover_everything_in_steps(n: int, advance: int) -> None:
    ranges = list(window_ranges(n, 6, advance))
    assert {i for begin, end in ranges for i in range(begin, end)} == set(range(n))
    assert all(end - begin == 6 for begin, end in ranges[:-1])
    assert all(b[0] - a[0] == min(advance, 6) for a, b in itertools.pairwise(ranges))
    assert ranges[-1][1] == n and all(end < n for _, end in ranges[:-1])
    best = max_context(ranges, n)
    counts = np.zeros(n, int)
    for (begin, end), chosen in zip(ranges, best, strict=True):
        counts[begin:end] += chosen
    assert (counts == 1).all()  # each token counts in exactly one window


def test_a_token_counts_where_it_stands_farthest_from_the_border() -> None:
    first, second = max_context([(0, 10), (4, 14)], 14)
    assert first.tolist() == [True] * 7 + [False] * 3  # tokens 4..6 nearer the first's middle
    assert second.tolist() == [False] * 3 + [True] * 7


@pytest.mark.parametrize("max_length", [12, 16, 24, 64])
@pytest.mark.parametrize("stride", [2, 4, 100])
@pytest.mark.parametrize(
    "answer", ["tolo", "the blue kettle", "xq", "q mill", "x", "mira", "xq mill ."]
)
def test_positions_name_the_answer_or_cls(
    max_length: int, stride: int, answer: str, demo_tokenizer
) -> None:
    task = dataclasses.replace(TASK, doc_stride=stride)
    rows = [row("who has it ?", answer)]
    encoded = task.encode(rows, demo_tokenizer, max_length)
    seen = set()
    begin, end = CONTEXT.index(answer), CONTEXT.index(answer) + len(answer)
    for w in range(len(encoded)):
        offsets = encoded.extra["offsets"][w]
        ids = encoded.arrays["input_ids"][w]
        start, stop = (int(encoded.arrays[f"{side}_positions"][w]) for side in ("start", "end"))
        inside = offsets[:, 0] >= 0
        seen |= {tuple(pair) for pair in offsets[inside].tolist()}
        # Offsets spell the tokens they stand beside.
        for i in np.flatnonzero(inside):
            token = demo_tokenizer.convert_ids_to_tokens([int(ids[i])])[0]
            assert CONTEXT[offsets[i, 0] : offsets[i, 1]] == token.removeprefix("##")
        text = CONTEXT[offsets[inside][0, 0] : offsets[inside][-1, 1]]
        if answer in text:
            assert (offsets[start, 0], offsets[stop, 1]) == (begin, end)
        else:
            assert (start, stop) == (0, 0)
        assert encoded.lengths[w] <= max_length
    whole = demo_tokenizer(CONTEXT, add_special_tokens=False, return_offsets_mapping=True)
    assert seen == {tuple(pair) for pair in whole["offset_mapping"]}
    assert encoded.extra["begins"].sum() == len(seen)


def test_windows_equal_the_tokenizers_own_pair(demo_tokenizer) -> None:
    rows = [row("who has the drum ?", "tolo"), row("where ?", "mill", identity="q2")]
    encoded = TASK.encode(rows, demo_tokenizer, 40)
    whole = demo_tokenizer(
        [r["question"] for r in rows], [CONTEXT] * 2, padding="max_length", max_length=40
    )
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert encoded.arrays[name].tolist() == whole[name]


def test_long_questions_are_cut(demo_tokenizer) -> None:
    rows = [row("who " * 70, "tolo")]
    encoded = TASK.encode(rows, demo_tokenizer, 128)
    assert (encoded.arrays["token_type_ids"][0] == 0).sum() - (128 - encoded.lengths[0]) == 64 + 2
    with pytest.raises(InputError, match=r"--max-length 67 leaves no room .* question q1"):
        TASK.encode(rows, demo_tokenizer, 67)


# ------------------------------------------------------------------------------------ spans


def test_right_logits_in_many_windows_give_the_answers(demo_tokenizer) -> None:
    task = dataclasses.replace(TASK, doc_stride=6)
    rows = [
        row("who?", "tolo"),
        row("what?", "the blue kettle", identity="q2"),
        row("where?", "xq mill", identity="q3"),
    ]
    encoded = task.encode(rows, demo_tokenizer, 16)
    assert len(encoded) > 6
    best, nbest, _ = task.predict(rows, encoded, gold_logits(encoded, 16))
    assert best == {"q1": "tolo", "q2": "the blue kettle", "q3": "xq mill"}
    for entries in nbest.values():
        assert len(entries) <= 20
        assert sum(entry["probability"] for entry in entries) == pytest.approx(1.0)
        sums = [entry["start_logit"] + entry["end_logit"] for entry in entries]
        assert sums == sorted(sums, reverse=True)
        assert len({entry["text"] for entry in entries}) == len(entries)
    assert task.score(rows, encoded, gold_logits(encoded, 16)) == {
        "f1": 100.0,
        "exact_match": 100.0,
    }


@pytest.mark.parametrize("seed", range(4))
def test_best_span_equals_trying_all(seed: int, demo_tokenizer) -> None:
    task = dataclasses.replace(TASK, doc_stride=6, max_answer_length=3, n_best=1000)
    rows = [row("who?", "tolo")]
    encoded = task.encode(rows, demo_tokenizer, 16)
    logits = np.random.default_rng(seed).normal(size=(len(encoded), 16, 2))
    found = {}
    for w in range(len(encoded)):
        offsets, begins = encoded.extra["offsets"][w], encoded.extra["begins"][w]
        for s in range(16):
            for e in range(s, min(s + 3, 16)):
                if offsets[s, 0] >= 0 and offsets[e, 0] >= 0 and begins[s]:
                    text = CONTEXT[offsets[s, 0] : offsets[e, 1]]
                    score = logits[w, s, 0] + logits[w, e, 1]
                    found[text] = max(found.get(text, -99.0), score)
    expected = sorted(found, key=lambda text: -found[text])
    best, nbest, _ = task.predict(rows, encoded, logits)
    assert best["q1"] == expected[0]
    assert [entry["text"] for entry in nbest["q1"]] == expected
    scores = np.array([found[text] for text in expected])
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose([entry["probability"] for entry in nbest["q1"]], weights)


def test_the_question_and_padding_are_never_an_answer(demo_tokenizer) -> None:
    rows = [row("mira tolo yori ?", "drum")]
    encoded = TASK.encode(rows, demo_tokenizer, 48)
    logits = np.zeros((1, 48, 2))
    logits[0, encoded.extra["offsets"][0, :, 0] < 0] = 50.0
    assert TASK.predict(rows, encoded, logits).best["q1"] in ("", *_all_spans(30))
    wide = dataclasses.replace(TASK, n_best=48)
    assert wide.predict(rows, encoded, logits).best["q1"] in _all_spans(30)


def _all_spans(n: int) -> set[str]:
    words = CONTEXT.split()
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, i + n)}


def test_the_null_threshold_of_v2(demo_tokenizer) -> None:
    rows = [row("who?", "tolo"), row("why?", identity="q2")]
    encoded = V2.encode(rows, demo_tokenizer, 48)
    assert encoded.arrays["start_positions"][1] == 0
    logits = gold_logits(encoded, 48)
    best, nbest, odds = V2.predict(rows, encoded, logits)
    assert best == {"q1": "tolo", "q2": ""}
    assert odds == {"q1": -18.0, "q2": 18.0}  # null score minus best score
    assert nbest["q2"][0] == {"text": "", "probability": nbest["q2"][0]["probability"],
                              "start_logit": 9.0, "end_logit": 9.0}  # fmt: skip
    assert V2.score(rows, encoded, logits)["f1"] == 100.0
    for threshold, answers in ((18.0, 2), (17.9, 1), (-18.1, 0)):
        task = dataclasses.replace(V2, null_threshold=threshold)
        assert sum(map(bool, task.predict(rows, encoded, logits).best.values())) == answers
    # Windows without the answer have a large null score; the smallest of all windows counts.
    narrow = dataclasses.replace(V2, doc_stride=6)
    encoded = narrow.encode(rows[:1], demo_tokenizer, 16)
    logits = gold_logits(encoded, 16)
    logits[encoded.arrays["start_positions"] == 0, 0] = 80.0
    assert narrow.predict(rows[:1], encoded, logits).best == {"q1": "tolo"}


# ---------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("The Eagle!", "eagle", 1, 1),
        ("an eagle's  nest", "Eagles nest", 1, 1),
        ("theatre", "atre", 0, 0),  # articles are words, not letters
        ("a-an-the-x", "aanthex", 1, 1),  # punctuation goes before articles
        ("red red drum", "red drum drum", 0, 2 / 3),  # repeats count once each
        ("red drum", "drum", 0, 2 / 3),
        ("caf\u00e9 \u201cx\u201d", "cafe x", 0, 0),  # only ASCII punctuation, no accents folded
        ("mira", "tolo", 0, 0),
    ],
)
def test_exact_match_and_f1(answer: str, gold: str, exact: float, f1: float) -> None:
    assert squad_metrics.exact_match(answer, gold) == exact
    assert squad_metrics.token_f1(answer, gold) == pytest.approx(f1)


def test_scores_are_the_best_over_golds_averaged_over_questions() -> None:
    rows = [
        row("?", "tolo", "red drum", "drum"),
        row("?", "mira", identity="q2"),
        row("?", "the blue kettle", identity="q3"),
    ]
    answers = {"q1": "the drum", "q2": "yori", "q3": "kettle", "other": "x"}
    scores = squad_metrics.squad_scores(rows, answers)
    assert scores == pytest.approx({"f1": 100 * (1 + 0 + 2 / 3) / 3, "exact_match": 100 / 3})
    assert next(iter(scores)) == "f1"


def test_v2_scores_questions_with_and_without_answer_apart() -> None:
    rows = [row("?", "tolo"), row("?", identity="q2"), row("?", identity="q3")]
    scores = squad_metrics.squad_scores(rows, {"q1": "", "q2": "", "q3": "mira"}, v2=True)
    assert scores == pytest.approx(
        {
            "f1": 100 / 3,
            "exact_match": 100 / 3,
            "HasAns_f1": 0,
            "HasAns_exact_match": 0,
            "NoAns_f1": 50,
            "NoAns_exact_match": 50,
        }
    )


def test_versions_differ_where_nothing_is_left_to_compare() -> None:
    rows = [row("?", "the")]
    assert squad_metrics.squad_scores(rows, {"q1": ""}) == {"f1": 0.0, "exact_match": 100.0}
    assert squad_metrics.squad_scores(rows, {"q1": ""}, v2=True)["f1"] == 100.0


def test_a_missing_prediction_is_an_error() -> None:
    with pytest.raises(InputError, match="none for 1 of 2 questions, first q2"):
        TASK.score_predictions([row("?", "tolo"), row("?", "tolo", identity="q2")], {"q1": "x"})


# ------------------------------------------------------------------------------ predictions


def test_prediction_files_have_the_official_layout(tmp_path: Path, demo_tokenizer) -> None:
    rows = [row("who?", "tolo"), row("why?", identity="q2")]
    encoded = V2.encode(rows, demo_tokenizer, 48)
    predictions = V2.predict(rows, encoded, gold_logits(encoded, 48).astype(np.float32))
    squad_files.write_predictions(tmp_path / "out" / "predictions.json", *predictions)
    names = ["nbest_predictions.json", "null_odds_predictions.json", "predictions.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    read = squad_files.read_predictions(tmp_path / "out" / "predictions.json")
    assert read == {"q1": "tolo", "q2": ""}
    nbest = json.loads((tmp_path / "out" / "nbest_predictions.json").read_text())
    assert list(nbest["q1"][0]) == ["text", "probability", "start_logit", "end_logit"]
    odds = json.loads((tmp_path / "out" / "null_odds_predictions.json").read_text())
    assert odds["q2"] == pytest.approx(18.0)
    squad_files.write_predictions(tmp_path / "v1.json", predictions.best, predictions.nbest)
    assert not (tmp_path / "null_odds_v1.json").exists()


@pytest.mark.parametrize(
    ("document", "message"), [([], "expected an object"), ({"q": 3}, "q: the")]
)
def test_broken_prediction_files(document, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        squad_files.read_predictions(put(tmp_path, document))


def test_encoding_leaves_the_rows_alone(demo_tokenizer) -> None:
    rows = [row("who?", "tolo")]
    before = copy.deepcopy(rows)
    TASK.encode(rows, demo_tokenizer, 48)
    assert rows == before
