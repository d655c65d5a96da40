"""`mpjax evaluate --runtime sparse`: logits and scores of `--runtime dense`, whatever is scored."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import tiny
from flax.traverse_util import flatten_dict, unflatten_dict

from mpjax import models
from mpjax.cli import main
from mpjax.config.evaluate import EvaluateConfig
from mpjax.errors import InputError
from mpjax.export import pack_model, shrink_model
from mpjax.tasks import demo
from mpjax.tasks.demo import stories
from mpjax.tasks.seeds import Dice
from mpjax.training import evaluate as module

torch = pytest.importorskip("torch")
from mpjax.sparse import matrices  # noqa: E402

pytestmark = pytest.mark.usefixtures("programs")

NAMES = {"mira": "B-PER", "tolo": "B-PER", "the": "B-X", "drum": "I-X"}
ROWS = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder with a masked-LM model of the toy language, and one file of data for every task."""
    root = tmp_path_factory.mktemp("scored")
    tiny.model(root / "model", num_hidden_layers=2)
    tiny.data(root / "sst2")
    texts = [demo.sentiment(Dice(7, 0, i))["sentence"] for i in range(ROWS)]
    lines = ["text\tlabel", *(f"{text}\t{len(text) / 20}" for text in texts)]
    (root / "regression.tsv").write_text("\n".join(lines) + "\n")
    words = [text.split() for text in texts]
    tagged = [{"tokens": each, "tags": [NAMES.get(w, "O") for w in each]} for each in words]
    tagged[0]["tags"] = [*NAMES.values(), *["O"] * len(words[0])][: len(words[0])]
    (root / "tokens.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tagged))
    asked = [stories.question(Dice(7, 1, i)) for i in range(ROWS)]
    (root / "squad.json").write_text(json.dumps({"version": "1.1", "data": [*map(article, asked)]}))
    return root


def article(row):
    """Question in SQuAD's nested form, an article of its own."""
    places = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
    answers = [{"text": text, "answer_start": start} for text, start in places]
    qa = {"id": row["question"] + row["context"], "question": row["question"], "answers": answers}
    return {"title": "toys", "paragraphs": [{"context": row["context"], "qas": [qa]}]}


TASKS = {  # head, words of the command, labels of the model
    "sst2": ("classification", ["--data", "sst2"], ("negative", "positive")),
    "squad": ("qa", ["--data", "squad.json"], None),
    "regression": ("classification", ["--data", "regression.tsv"], ("LABEL_0",)),
    "tokens": ("tokens", ["--data", "tokens.jsonl"], ("B-PER", "B-X", "I-X", "O")),
    "demo_mlm": ("mlm", ["--limit", str(ROWS)], None),
}


def saved(root, task):
    """Folder of a model for a task: noise in every parameter, zeros in the matrices, dead units."""
    head, _, labels = TASKS[task]
    config = replace(models.read_config(root / "model"), id2label=labels)
    rng = np.random.default_rng(0)
    flat = flatten_dict(models.new_model(config, head).params, sep="/")
    for path, leaf in flat.items():
        noisy = np.asarray(leaf) + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32)
        dropped = re.fullmatch(models.PRUNABLE, path) and rng.random(leaf.shape) >= 0.3
        flat[path] = np.where(dropped, np.float32(0), noisy)
    layer = "bert/encoder/layer_"
    flat[f"{layer}0/attention/output/kernel"][:8] = 0  # a head
    flat[f"{layer}1/attention/output/kernel"][:] = 0  # both heads
    flat[f"{layer}1/ffn/out/kernel"][:5] = 0  # units
    params = unflatten_dict(flat, sep="/")
    folder = root / f"{task}-model"
    return models.save_model(folder, config, params, head, root / "tokenizer", exist_ok=True)


def both(root, task, model, monkeypatch, capsys):
    """Logits and printed result by runtime; every matrix is in CSR, however slow it is there."""
    logits, told, made = [], [], []

    def csr(weight):
        made.append(matrices.always_csr(weight))
        return made[-1]

    def recorded(*args):
        logits.append(score(*args))
        return logits[-1]

    score = module.dev_logits
    monkeypatch.setattr(module, "dev_logits", recorded)
    monkeypatch.setattr(matrices, "faster", csr)
    words = [str(root / word) if "." in word or word == "sst2" else word for word in TASKS[task][1]]
    for runtime in ("dense", "sparse"):
        command = ["evaluate", "--model", str(model), "--task", task, *words, "--runtime", runtime]
        sizes = ["--max-length", "32", "--batch-size", "4", "--cache", "none"]
        assert main([*command, *sizes]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert len(made) == 12 and any(form.is_csr for form in made)
    return logits, told


def check(logits, told):
    dense, ours = logits
    assert dense.shape == ours.shape and np.ptp(dense) > 0.01, "logits that say nothing"
    np.testing.assert_allclose(ours, dense, rtol=0, atol=1e-4)
    assert told[0].pop("score") == pytest.approx(told[1].pop("score"), rel=1e-4)
    assert told[0] == told[1]


@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_task(root, task, monkeypatch, capsys):
    check(*both(root, task, saved(root, task), monkeypatch, capsys))


@pytest.mark.parametrize("form", ["packed int8", "shrunk", "shrunk, packed"])
def test_every_form_of_a_model(root, form, tmp_path, monkeypatch, capsys):
    model = saved(root, "squad")
    if form.startswith("shrunk"):
        report, _, _ = shrink_model(model, tmp_path / "small")
        assert report.layers[1][0] == 0 and report.layers[1][1] < report.units
        model = tmp_path / "small"
    if "packed" in form:
        rounded = {"int8": True, "embeddings": "int8"} if form.endswith("int8") else {}
        pack_model(model, tmp_path / "model.mpz", **rounded)
        model = tmp_path / "model.mpz"
    check(*both(root, "squad", model, monkeypatch, capsys))


def test_an_unknown_runtime_is_refused(root, capsys):
    with pytest.raises(InputError, match="--runtime is 'csr'; choose from dense, sparse"):
        EvaluateConfig("model", runtime="csr")
    command = ["evaluate", "--model", str(root / "model"), "--task", "sst2", "--max-length", "16"]
    command += ["--data", str(root / "sst2"), "--runtime", "sparse", "--cache", "none"]
    assert main(command) == 2
    assert "fine-tune it first" in capsys.readouterr().err, "a model without a trained head"
