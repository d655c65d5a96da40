"""Question files of people: all faults at once, what is certain mended; the best threshold."""

import copy
import dataclasses
import logging

import numpy as np
import pytest
from test_tasks_squad import CONTEXT, TASK, V2, gold_logits, official, put, qa, row

from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.repairing import with_repair
from mpjax.tasks.squad.metrics import best_scores, exact_match, token_f1

START = CONTEXT.index("tolo")


def answer(text="tolo", start=START):
    return {"answers": [{"text": text, "answer_start": start}]}


def repaired(tmp_path, *qas, task=TASK):
    return with_repair(task, True).read(put(tmp_path, official(*qas)), "dev")


MENDED = {
    "one before": answer(start=START - 1),
    "one behind": answer(start=START + 1),
    "minus one": answer(start=-1),
    "text": answer(start=str(START)),
    "null": answer(start=None),
    "far, but the only one": answer(start=0),
    "white space around": answer("  tolo ", START - 1),
    "white space before": answer("\ttolo", START),
    "hub": {"answers": {"text": ["tolo"], "answer_start": [START]}},
}


@pytest.mark.parametrize("kind", MENDED)
def test_an_answer_is_put_in_its_place(kind, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "mpjax"):
        (found,) = repaired(tmp_path, qa("a1", **MENDED[kind]))
    assert found["answers"] == {"text": ["tolo"], "answer_start": [START]}
    assert (": mended: 1 answers" in caplog.text) == (kind != "hub")


LEFT_OUT = {
    "not in the passage": answer("zebra", 3),
    "two places, none near": answer("the", -1),
    "two places, as near": answer("e", CONTEXT.index("the")),
    "empty": answer("  ", 3),
    "no text": {"answers": [{"answer_start": 3}]},
    "no object": {"answers": ["tolo"]},
    "no answer": {"answers": []},
    "no list": {"answers": None},
    "no question": {"question": None},
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_an_uncertain_question_is_left_out(kind, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "mpjax"):
        found = repaired(tmp_path, qa("a1"), qa("a2", **LEFT_OUT[kind]))
    assert [one["id"] for one in found] == ["a1"]
    assert ": left out: 1 " in caplog.text and "(a2)" in caplog.text


def test_ids_become_text_or_are_made_and_are_used_once(tmp_path, caplog):
    nameless = qa("x")
    del nameless["id"]
    with caplog.at_level(logging.WARNING, "mpjax"):
        found = repaired(tmp_path, qa(7), nameless, qa("7"), qa(None), "no object")
    assert [one["id"] for one in found] == ["7", "0-0-1", "0-0-3"]
    assert "mended: 1 ids that are numbers (0-0-0); 2 ids that are missing or no" in caplog.text
    assert "left out: 1 questions that are no objects (0-0-4); 1 ids used twice (7)" in caplog.text


def test_one_of_two_answers_may_be_left_out(tmp_path):
    two = {"answers": [*answer("zebra", 0)["answers"], *answer()["answers"]]}
    (found,) = repaired(tmp_path, qa("a1", **two))
    assert found["answers"] == {"text": ["tolo"], "answer_start": [START]}


def test_impossible_questions_without_answers_belong_to_v2_where_they_say_so(tmp_path):
    impossible = qa("a2", is_impossible=True)
    silent = qa("a3")
    del impossible["answers"], silent["answers"]
    found = repaired(tmp_path, qa("a1"), impossible, silent, task=V2)
    assert [one["id"] for one in found] == ["a1", "a2"]
    assert found[1]["answers"] == {"text": [], "answer_start": []}


def test_all_faults_are_listed_at_once(tmp_path):
    faulty = [qa(f"a{i}", **answer(start=START - 1)) for i in range(5)]
    document = official(*faulty, qa(7), qa("b", **answer("zebra")), qa("c"))
    document["data"][0]["paragraphs"].append({"qas": []})
    path = put(tmp_path, document)
    with pytest.raises(InputError) as caught:
        TASK.read(path, "dev")
    said = str(caught.value)
    assert (
        "dev.json: 8 faults, 7 questions can be read: 6 answers that are not at their start" in said
    )
    assert "(a0, a1, a2, ...); 1 ids that are numbers (0-0-5); 1 paragraphs without" in said
    assert "the first: " in said and "question a0: the answer 'tolo' is not at character" in said
    assert "correct the file, or give --repair, which mends 6 and leaves out 2" in said
    assert len(said) < 1000
    assert len(repaired(tmp_path, *faulty)) == 5


def test_a_sound_file_says_nothing_and_a_wholly_faulty_one_is_refused(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "mpjax"):
        assert len(repaired(tmp_path, qa("a1"))) == 1
    assert caplog.text == ""
    with pytest.raises(InputError, match="no questions"):
        repaired(tmp_path, qa("a1", answers=[]))


# The null threshold.


def by_definition(rows, answers, odds):
    """Best sum of scores over every cut between two questions, in the order of their odds."""
    result = {}
    for name, measure in (("exact", exact_match), ("f1", token_f1)):
        order = sorted(range(len(rows)), key=lambda i: odds[rows[i]["id"]])
        sums = []
        for answered in range(len(rows) + 1):
            points = 0.0
            for place, i in enumerate(order):
                guess = answers[rows[i]["id"]] if place < answered else ""
                golds = rows[i]["answers"]["text"] or [""]
                points += max(measure(guess, gold) for gold in golds)
            sums.append(points)
        best = int(np.argmax(sums))  # the first
        result[f"best_{name}"] = 100 * sums[best] / len(rows)
        result[f"best_{name}_thresh"] = odds[rows[order[best - 1]]["id"]] if best else 0.0
    return result


@pytest.mark.parametrize("seed", range(20))
def test_the_best_threshold_equals_trying_all(seed):
    dice = np.random.default_rng(seed)
    words = ["mira", "tolo", "yori", "red drum", "blue kettle"]
    rows, answers, odds = [], {}, {}
    for i in range(int(dice.integers(1, 12))):
        golds = dice.choice(words, size=int(dice.integers(0, 3)), replace=False).tolist()
        rows.append(row("?", *golds, identity=f"q{i}"))
        answers[f"q{i}"] = str(dice.choice([*words, "red", "kettle red"]))
        odds[f"q{i}"] = float(dice.normal())
    found = best_scores(rows, answers, odds)
    assert list(found) == ["best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
    assert found == pytest.approx(by_definition(rows, answers, odds))


def test_v2_reports_the_best_threshold_of_its_own_answers():
    tokenizer = demo.tokenizer()
    rows = [row("who?", "tolo"), row("why?", identity="q2")]
    encoded = V2.encode(rows, tokenizer, 48)
    logits = gold_logits(encoded, 48)
    logits[0, 0] += 12.0  # the first question's answer is 6 below its null score
    scores = V2.score(rows, encoded, logits)
    assert (scores["f1"], scores["HasAns_f1"], scores["NoAns_f1"]) == (50.0, 0.0, 100.0)
    assert (scores["best_f1"], scores["best_exact"]) == (100.0, 100.0)
    assert scores["best_f1_thresh"] == pytest.approx(6.0)
    again = dataclasses.replace(V2, null_threshold=scores["best_f1_thresh"])
    assert again.score(rows, encoded, logits)["f1"] == 100.0
    assert not any(name.startswith("best") for name in TASK.score(rows[:1], TASK.encode(
        rows[:1], tokenizer, 48), copy.copy(logits[:1])))  # fmt: skip
