"""Classes of a folder under other names, in another order, in another number, or without names."""

import dataclasses
import logging

import jax
import numpy as np
import pytest
import tiny

from mpjax import models, tasks
from mpjax.config.evaluate import EvaluateConfig
from mpjax.errors import InputError
from mpjax.models.hf.labels import order_of
from mpjax.runs.class_order import better_order, hint
from mpjax.tasks import demo
from mpjax.tasks.seeds import Dice
from mpjax.training.evaluate import evaluate

MNLI = ("entailment", "neutral", "contradiction")
TINY = models.BertConfig(
    vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)


def folder_of(root, names, config=TINY):
    """A classifier whose i-th class has the bias i, and its folder."""
    config = dataclasses.replace(config, id2label=tuple(names))
    params = models.new_model(config, "classification").params
    params["classifier"]["bias"] = np.arange(len(names), dtype=np.float32)
    return models.save_model(root / "m", config, params, "classification")


@pytest.mark.parametrize(
    ("stored", "asked", "order"),
    [
        (("contradiction", "entailment", "neutral"), MNLI, (1, 2, 0)),
        (("CONTRADICTION", "Neutral", "ENTAILMENT"), MNLI, (2, 1, 0)),
        (("contra", "ent", "neu"), MNLI, (1, 2, 0)),
        (("c", "e", "n"), MNLI, (1, 2, 0)),
        (("pos", "neg"), ("negative", "positive"), (1, 0)),
        (("Non-Entailment", "entailment"), ("entailment", "not_entailment"), (1, 0)),
        (("equivalent", "not equivalent"), ("not_equivalent", "equivalent"), (1, 0)),
        (("paraphrase", "not_paraphrase"), ("not_equivalent", "equivalent"), (1, 0)),
        (("1", "0"), ("negative", "positive"), (1, 0)),
        (("LABEL_0", "LABEL_1"), ("negative", "positive"), None),
        (("0", "1"), ("negative", "positive"), None),
        (("happy", "sad"), ("negative", "positive"), None),
        (("neg", "neg."), ("negative", "positive"), None),
        (("5", "4"), ("4", "5"), (1, 0)),
    ],
)
def test_classes_are_found_by_their_names(stored, asked, order):
    assert order_of(stored, asked) == order


def test_short_names_in_another_order_are_put_in_the_asked_one(tmp_path, caplog):
    folder = folder_of(tmp_path, ("contra", "ent", "neu"))
    with caplog.at_level(logging.WARNING, "mpjax"):
        model = models.load_model(folder, "classification", labels=MNLI)
    assert model.params["classifier"]["bias"].tolist() == [1, 2, 0]
    assert model.config.id2label == MNLI and model.places == (1, 2, 0)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), "does not say what its classes are"),
        (("a", "b", "z"), "has other classes"),
    ],
)
def test_names_that_do_not_tell_are_warned_about(names, says, tmp_path, caplog):
    folder = folder_of(tmp_path, names)
    with caplog.at_level(logging.WARNING, "mpjax"):
        model = models.load_model(folder, "classification", labels=MNLI)
    assert model.params["classifier"]["bias"].tolist() == [0, 1, 2]
    assert says in caplog.text and "--labels" in caplog.text
    assert "taken for entailment,neutral,contradiction" in caplog.text


def test_a_given_order_is_used_where_the_names_do_not_contradict_it(tmp_path, caplog):
    places = {"entailment": 2, "neutral": 1, "contradiction": 0}
    folder = folder_of(tmp_path / "a", ("LABEL_0", "LABEL_1", "LABEL_2"))
    with caplog.at_level(logging.WARNING, "mpjax"):
        model = models.load_model(folder, "classification", labels=places)
    assert model.params["classifier"]["bias"].tolist() == [2, 1, 0]
    assert model.config.id2label == MNLI and caplog.text == ""
    folder = folder_of(tmp_path / "b", ("contra", "ent", "neu"))
    with pytest.raises(InputError, match="--labels contradiction,neutral,entailment contradicts"):
        models.load_model(folder, "classification", labels=places)


def test_an_order_that_scores_far_better_is_found_and_noise_is_not():
    dice = np.random.default_rng(0)
    gold = dice.integers(0, 3, 600)
    good = np.where(dice.random(600) < 0.8, gold, dice.integers(0, 3, 600))
    for order in [(1, 2, 0), (2, 0, 1), (1, 0, 2)]:
        inverse = np.argsort(order)
        assert better_order(inverse[good], gold, 3) == order
    assert better_order(good, gold, 3) is None
    assert better_order(dice.integers(0, 3, 600), gold, 3) is None
    assert better_order(np.array([0, 1]), np.array([1, 0]), 2) is not None
    few = np.array([0, 1, 0, 1, 1, 0]), np.array([1, 0, 0, 1, 0, 1])  # 2 of 6: by chance
    assert better_order(*few, 2) is None
    # A model whose second class is the task's first: the names are in the model's own order.
    logits = np.eye(3)[np.array([2, 0, 1])[gold]]
    assert "would be 100.0" in str(hint(logits, gold, MNLI))
    assert "neutral,contradiction,entailment" in str(hint(logits, gold, MNLI))
    assert "neutral,entailment,contradiction" in str(hint(logits, gold, MNLI, places=(0, 2, 1)))
    assert "entailment,neutral,contradiction" in str(hint(logits, gold, MNLI, places=(1, 2, 0)))


# The whole way, by a classifier that knows the demo sentences' labels in the wrong order.


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """A classifier of mnli's three classes without names; its data: one word a class."""
    root = tmp_path_factory.mktemp("labels")
    words = tiny.tokenizer(root / "tokenizer")
    tokenizer = models.load_tokenizer(words)
    config = dataclasses.replace(
        TINY, vocab_size=len(tokenizer), id2label=("LABEL_0", "LABEL_1", "LABEL_2"),
        num_hidden_layers=1, max_position_embeddings=16,
    )  # fmt: skip
    params = jax.device_get(models.new_model(config, "classification").params)
    folder = models.save_model(root / "m", config, params, "classification", words)
    # Gold labels are the model's own guesses, under the names of another order.
    rows = [demo.sentiment(Dice(3, 0, i))["sentence"] for i in range(60)]
    plain = "\n".join(["sentence1\tsentence2\tgold_label", *(f"{r}\tx\tneutral" for r in rows)])
    (root / "dev_matched.tsv").write_text(plain + "\n")
    guess = root / "guess.jsonl"
    evaluate(EvaluateConfig(str(folder), "mnli", str(root), max_length=16, cache="none",
                            predictions=str(guess)))  # fmt: skip
    found = list(tasks.get("mnli").read_predictions(guess).values())
    names = ["contradiction", "entailment", "neutral"]  # of LABEL_0, LABEL_1, LABEL_2
    lines = [f"{row}\tx\t{names[int(label)]}" for row, label in zip(rows, found, strict=True)]
    (root / "dev_matched.tsv").write_text("\n".join([plain.splitlines()[0], *lines]) + "\n")
    return folder, root


def scored(knowing, **options):
    folder, root = knowing
    config = EvaluateConfig(str(folder), "mnli", str(root), max_length=16, cache="none", **options)
    return evaluate(config)["score"]["accuracy"]


def test_evaluate_names_the_better_order_and_takes_it(knowing, caplog):
    with caplog.at_level(logging.WARNING, "mpjax"):
        assert scored(knowing) == 0.0
    assert "accuracy is 0.0, and would be 100.0 if the model's classes were " in caplog.text
    told = caplog.text.split("classes were ")[-1].split(", in this order")[0]
    assert scored(knowing, labels=told) == 100.0
    assert scored(knowing, labels="contra, ent, neu") == 100.0


def test_labels_that_do_not_fit_are_refused(knowing):
    for labels in ("entailment,neutral", "a,b,c", "entailment,neutral,neutral", ""):
        with pytest.raises(InputError, match=r"--labels .* must hold the labels of mnli, entailm"):
            scored(knowing, labels=labels)
    folder, root = knowing
    with pytest.raises(InputError, match="--labels is for tasks with classes; squad has none"):
        evaluate(EvaluateConfig(str(folder), "squad", str(root), labels="a,b"))
    with pytest.raises(InputError, match="--repair mends files of questions; mnli has none"):
        evaluate(EvaluateConfig(str(folder), "mnli", str(root), repair=True))


def test_a_head_of_another_number_of_classes_is_refused_by_both_numbers(tmp_path, knowing):
    _, root = knowing
    config = dataclasses.replace(TINY, vocab_size=500, max_position_embeddings=16)
    folder = folder_of(tmp_path, ("entailment", "not_entailment"), config)
    tiny.tokenizer(folder)
    message = r"head of 2 classes, entailment,not_entailment, where mnli has 3 classes, entailment,"
    with pytest.raises(InputError, match=message):
        evaluate(EvaluateConfig(str(folder), "mnli", str(root), max_length=16, cache="none"))
