"""`--label-words`: the choice of the head, and runs that classify by words of a masked LM."""

import dataclasses
import logging
import shutil

import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file

from mpjax import cli, models, tasks
from mpjax.config import recipes
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.recorded import as_dict, differences
from mpjax.config.resolve import resolve
from mpjax.errors import InputError
from mpjax.export import export_model, inspect_model, pack_model, shrink_model
from mpjax.files import read_object
from mpjax.runs.folder import RunDir
from mpjax.runs.label_words import load_to_train, other_order, token_ids
from mpjax.runs.opening import load_for_task
from mpjax.training.evaluate import evaluate
from mpjax.training.prepare import read_inputs
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")
WORDS = "nasty,lovely"
SST2 = tasks.get("sst2")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A masked LM, data, and the masked LM with a trained classifier in place of its head."""
    root = tmp_path_factory.mktemp("words")
    tiny.options(root)
    dense = models.load_model(root / "model", "classification", labels=SST2.labels)
    models.save_model(root / "tuned", dense.config, dense.params, dense.head, root / "model")
    return root


def chosen(root, task=SST2, model="model", **changes):
    """Model that a run would start from."""
    config, folder = tiny.config(root, **changes), root / model
    return load_to_train(config, folder, task, models.load_tokenizer(folder))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_words": WORDS, "task": "regression"}, "does not apply to regression"),
        ({"label_words": WORDS, "task": "squad"}, "does not apply to squad"),
        ({"label_words": WORDS, "task": "tokens"}, "does not apply to tokens"),
        ({"label_words": WORDS, "task": "demo_mlm"}, "does not apply to demo_mlm"),
        ({"label_words": "nasty,"}, "has an empty word"),
        ({"label_words": "nasty,nasty"}, "names nasty twice"),
    ],
)
def test_words_are_checked_before_any_data_is_read(options, message, root):
    with pytest.raises(InputError, match=f"--label-words .*{message}"):
        resolve(tiny.config(root, **options))


@pytest.mark.parametrize(
    ("words", "model", "message"),
    [
        ("nasty,lovely,calm", "model", "has 3 words, and sst2 has 2 labels; .* negative, positive"),
        ("terrible,lovely", "model", "terrible is 8 tokens of the model's tokenizer"),
        ("nasty,\N{SNOWMAN}", "model", "\N{SNOWMAN} is unknown to the model's tokenizer"),
        ("nasty,Nasty", "model", "nasty and Nasty are one token"),
        (WORDS, "tuned", "tuned has no masked-LM head"),
    ],
)
def test_words_that_do_not_fit_the_model_are_refused_by_name(words, model, message, root):
    with pytest.raises(InputError, match=f"--label-words .*{message}"):
        chosen(root, model=model, label_words=words)


def test_words_are_tokenized_as_within_a_sentence(tmp_path):
    tokenizer = models.load_tokenizer(tiny.model(tmp_path / "m", "roberta"))
    vocabulary = tokenizer.get_vocab()
    assert token_ids(("the", "was"), tokenizer, "x") == (vocabulary["Ġthe"], vocabulary["Ġwas"])


def test_auto_takes_a_trained_head_then_label_words_then_a_new_head(root, caplog):
    caplog.set_level(logging.INFO, "mpjax")

    def said(**options):
        caplog.clear()
        model = chosen(root, label_words="auto", **options)
        lines = [record.getMessage() for record in caplog.records]
        [line] = [line for line in lines if line.startswith("head: ")]
        return model.head, bool(model.fresh), line

    own = dataclasses.replace(SST2, label_words=("nasty", "lovely"))
    head, fresh, line = said(model="tuned", task=own)
    assert (head, fresh) == ("classification", False) and "the trained classifier of" in line
    _, fresh, line = said(task=tasks.get("squad"))
    assert fresh and line.startswith("head: a new one; label words are for the classes of texts")
    mlm = models.load_model(root / "model", "mlm")
    worded = models.with_label_words(mlm, SST2.labels, ("dull", "calm"), (151, 137))
    models.save_model(root / "worded", worded.config, mlm.params, worded.head, root / "model")
    head, fresh, line = said(model="worded", task=own)
    assert (head, fresh) == ("label_words", False) and "the trained label words of" in line
    head, fresh, line = said(task=own)
    assert (head, fresh) == ("label_words", False)
    assert line.endswith("nasty for negative, lovely for positive")
    head, fresh, line = said()  # terrible, great
    assert (head, fresh) == ("classification", True) and "terrible is 8 tokens" in line
    head, fresh, line = said(task=dataclasses.replace(SST2, label_words=()))
    assert (head, fresh) == ("classification", True) and "no label words of its own" in line
    caplog.clear()
    assert chosen(root).head == "classification" and not caplog.records


def test_words_in_another_order_than_their_meaning_are_warned_of(root, caplog):
    def warned(words, **task):
        caplog.clear()
        model = chosen(root, dataclasses.replace(SST2, **task), label_words=words)
        assert model.config.extra["label_words"] == words.split(",")  # taken as they are given
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    [said] = warned("lovely,nasty", labels=("nasty", "lovely"))
    assert "words for nasty,lovely are nasty,lovely, in this order" in said
    [said] = warned("Lovely,Nasty", label_words=("nasty", "lovely"))
    assert "words for negative,positive are Nasty,Lovely, in this order" in said
    assert warned(WORDS, label_words=("nasty", "lovely")) == warned("lovely,nasty") == []


def test_words_of_the_tasks_are_one_for_each_label():
    for name in tasks.names():
        task = tasks.get(name)
        assert len(task.label_words) in (0, len(task.labels))
        assert len(task.label_words) == 0 or task.head == "classification"
        assert not task.label_words or other_order(task.label_words, task) is None
    assert SST2.label_words == ("terrible", "great")
    mnli = tasks.get("mnli")
    assert dict(zip(mnli.labels, mnli.label_words, strict=True)) == {
        "entailment": "Yes", "neutral": "Maybe", "contradiction": "No"
    }  # fmt: skip


def test_a_run_of_smp_of_before_the_option_goes_on(root):
    made = as_dict(resolve(recipes.recipe_config("smp", **tiny.options(root, steps=60))))
    assert made["label_words"] == "auto"
    before = {name: value for name, value in made.items() if name != "label_words"}
    assert differences(made, before) == []
    assert differences(made | {"label_words": WORDS}, before) == [
        f"--label-words was None, now {WORDS}"
    ]


@pytest.mark.slow
def test_a_run_by_words_round_trips(root, tmp_path):
    dense = {"method": "dense", "density": None}  # the fastest to compile
    config = tiny.config(root, **dense, label_words=WORDS, steps=2, checkpoint_every=1)
    result, run = train(config), RunDir(root / "run")
    assert read_object(run.config)["derived"]["label_words"] == WORDS.split(",")
    vocabulary = models.load_tokenizer(root / "model").get_vocab()
    ids = tuple(vocabulary[word] for word in WORDS.split(","))
    start, end = (load_file(f / "model.safetensors") for f in (root / "model", run.model))
    assert set(start) == set(end)  # the pretrained head is stored whole
    moved = np.flatnonzero(start["cls.predictions.bias"] != end["cls.predictions.bias"])
    assert set(moved) == set(ids)

    shutil.copytree(run.path, tmp_path / "whole")
    shutil.rmtree(run.checkpoints / "2")
    run.result.unlink()
    assert train(config)["score"] == result["score"]
    assert tiny.same(run.path, tmp_path / "whole")

    exported = export_model(run.path, tmp_path / "exported")
    pack_model(run.path, tmp_path / "m.mpz")
    shrink_model(run.path, tmp_path / "shrunk")
    for made in (exported, tmp_path / "m.mpz", tmp_path / "shrunk"):
        assert models.word_ids(models.load_plain(made, "label_words").config) == ids, made
    options = {"data": str(root / "data"), "cache": "none", "max_length": 16}
    found = evaluate(EvaluateConfig(model=str(tmp_path / "m.mpz"), task="sst2", **options))
    assert found["score"] == result["score"]
    assert inspect_model(exported).linear == result["linear_density"] == 1
    card = (exported / "README.md").read_text()
    assert "AutoModelForMaskedLM" in card and "model.config.label_word_ids]" in card
    assert "pipeline_tag: fill-mask" in card and "type: text-classification" in card

    three = load_for_task(exported, tasks.get("mnli"), "float32", 0)
    assert three.fresh and three.other_labels == SST2.labels
    again = {"model": str(run.model), "teacher": str(run.path), "label_words": "auto"}
    inputs = read_inputs(resolve(tiny.config(root, **again, freeze="head")))
    assert inputs.teacher is not None
    assert inputs.model.head == inputs.teacher.model.head == "label_words"


def test_smp_freezes_the_head_of_the_words(root):
    made = recipes.recipe_config("smp", **tiny.options(root, steps=60, label_words=WORDS))
    assert read_inputs(resolve(made)).model.head == "label_words"


def test_smp_on_a_pretrained_folder_says_its_head_or_what_is_missing(root, tmp_path, capsys):
    words = ["--recipe", "smp", "--model", str(root / "model"), "--density", "0.3", "--steps", "60"]
    words += ["--batch-size", "8", "--max-length", "16", "--cache", "none", "--devices", "1"]
    command = ["train", *words, "--task", "sst2", "--data", str(root / "data")]
    assert cli.main([*command, "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "head: a new classifier; --label-words auto: terrible is 8 tokens" in said
    assert "or give --label-words" in said and not (tmp_path / "run").exists()
