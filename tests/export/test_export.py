"""Exported folders: whole, plain, with equal logits in transformers and mpjax."""

import shutil

import numpy as np
import pytest
import tiny

from mpjax import models
from mpjax.cards import CARD
from mpjax.errors import InputError
from mpjax.export import export_model
from mpjax.tasks import demo
from mpjax.tasks.demo.task import generated
from mpjax.training.predict import make_predict
from mpjax.training.train import train

pytestmark = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    train(tiny.config(root))
    return root / "run"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_an_export_is_the_model_and_doing_it_again_changes_nothing(run, tmp_path):
    target = export_model(run, tmp_path / "deep" / "out")
    assert target == tmp_path / "deep" / "out"
    before = files(target)
    assert before.keys() - files(run / "model").keys() == {CARD}
    assert before.items() >= files(run / "model").items()
    assert export_model(run, target) == target and files(target) == before
    assert export_model(target, tmp_path / "copy") and files(tmp_path / "copy") == before
    (tmp_path / "empty").mkdir()
    assert files(export_model(run, tmp_path / "empty")) == before
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "copy", "empty"}


@pytest.mark.slow
def test_an_output_that_holds_something_else_stays_as_it_is(run, tmp_path):
    target = export_model(run, tmp_path / "out")
    for text, message in (
        ('{"model_type": "bert"}', "not empty and not this export"),
        ("{}", "not that of a model"),
    ):
        (target / "config.json").write_text(text)
        with pytest.raises(InputError, match=message):
            export_model(run, target)
        assert (target / "config.json").read_text() == text
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        export_model(run, tmp_path / "file")


def test_an_unfinished_run_has_nothing_to_export(run, tmp_path):
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("model", "result.json"))
    with pytest.raises(InputError, match="not finished"):
        export_model(tmp_path / "run", tmp_path / "out")
    with pytest.raises(InputError, match="not a folder"):
        export_model(tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_copy_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match="out cannot be written: the disk is full"):
        export_model(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_transformers_gives_the_same_logits(run, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = export_model(run, tmp_path / "out")
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [row["sentence"] for row in generated(None, "dev", 1, demo.sentiment)[:8]]
    batch = tokenizer(texts, padding=True, return_tensors="np")
    assert theirs.config.id2label == {0: "negative", 1: "positive"}
    with torch.no_grad():
        expected = theirs(**{k: torch.from_numpy(v) for k, v in batch.items()}).logits.numpy()
    ours = models.load_model(folder, "classification")
    assert ours.fresh == ()
    logits = make_predict(ours.module)(ours.params, dict(batch))
    np.testing.assert_allclose(np.asarray(logits), expected, atol=2e-5)
    assert np.ptp(expected) > 1e-3
