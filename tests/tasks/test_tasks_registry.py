"""Laws of all tasks, and their registry."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import base, catalog, demo


@pytest.fixture(scope="module")
def demo_tokenizer():
    return demo.tokenizer()


def test_the_names_are_the_files_of_the_catalog() -> None:
    expected = {"sst2", "mnli", "qqp", "qnli", "rte", "mrpc", "cola", "stsb", "wnli"}
    expected |= {"squad", "squad_v2"}
    expected |= {"classification", "regression", "tokens", "qa"}
    expected |= {"demo_sentiment", "demo_inference", "demo_questions", "demo_mlm"}
    assert set(tasks.names()) == expected
    assert list(tasks.names()) == sorted(tasks.names())


def test_listing_names_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mpjax import tasks; tasks.names();"
        "print([m for m in ('numpy', 'jax', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_and_scoring_need_no_transformers() -> None:
    code = (
        "import sys; from mpjax import tasks; [tasks.get(n) for n in tasks.names()];"
        "tasks.get('demo_sentiment').read(None, 'dev');"
        "print([m for m in ('jax', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["sst", "glue", "../sst2", ""])
def test_an_unknown_name_is_answered_with_the_names(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown task .*sst2"):
        tasks.get(name)


def test_a_new_file_is_a_new_task(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reviews.py").write_text(
        "from mpjax.tasks.glue.task import GlueTask\n"
        "TASK = GlueTask('reviews', 'classification', ('bad', 'good'))\n"
    )
    monkeypatch.setattr(catalog, "__path__", [*catalog.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    assert "reviews" in tasks.names()
    assert tasks.get("reviews").labels == ("bad", "good")


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_keeps_the_interface(name: str) -> None:
    task = tasks.get(name)
    assert isinstance(task, base.Task)
    assert task.name == name
    assert task.num_labels == {"regression": 1, "qa": 2, "mlm": 0}.get(task.head, len(task.labels))
    # Own data bring their labels.
    assert (len(task.labels) > 1) == (task.head == "classification" and name not in base.OWN)
    with pytest.raises(InputError, match="unknown split 'test'"):
        task.read(None, "test")
    assert "0x" not in repr(task)  # it is part of the cache key: no addresses


@pytest.mark.parametrize(
    "name", ["demo_sentiment", "demo_inference", "demo_questions", "demo_mlm", "stsb"]
)
def test_encode_and_score_keep_the_interface(name: str, demo_tokenizer) -> None:
    task = tasks.get(name)
    if name == "stsb":
        rows = [
            {"sentence1": "mira smiled", "sentence2": "yori wept", "label": i / 2}
            for i in range(11)
        ]
    else:
        rows = task.read(None, "dev")[:40]
    encoded = task.encode(rows, demo_tokenizer, 48)
    n, size = len(encoded), len(demo_tokenizer)
    for key in ("input_ids", "attention_mask", "token_type_ids"):
        assert encoded.arrays[key].shape == (n, 48)
        assert encoded.arrays[key].dtype == np.int32
    np.testing.assert_array_equal(encoded.arrays["attention_mask"].sum(1), encoded.lengths)
    assert (np.diff(encoded.arrays["attention_mask"], axis=1) <= 0).all()  # padded on the right
    shape = {"mlm": (n, 48, size), "qa": (n, 48, 2)}.get(task.head, (n, task.num_labels))
    scores = task.score(rows, encoded, np.random.default_rng(0).normal(size=shape))
    assert next(iter(scores)) == task.metric
    assert all(type(value) is float and -100 <= value <= 100 for value in scores.values())


@pytest.mark.parametrize(
    "name", ["demo_sentiment", "demo_inference", "demo_questions", "demo_mlm", "stsb"]
)
def test_logits_that_know_the_labels_score_100(name: str, demo_tokenizer) -> None:
    task = tasks.get(name)
    if name == "stsb":
        rows = [{"sentence1": "mira", "sentence2": "yori", "label": i / 2} for i in range(11)]
    else:
        rows = task.read(None, "dev")[:40]
    encoded = task.encode(rows, demo_tokenizer, 48)
    arrays = encoded.arrays
    if task.head == "qa":
        marks = [arrays["start_positions"], arrays["end_positions"]]
        logits = np.stack([np.eye(48)[mark] for mark in marks], axis=-1)
    elif task.head == "regression":
        logits = arrays["labels"][:, None] * 0.5 - 3.0
    else:
        logits = np.eye(len(demo_tokenizer))[np.maximum(arrays["labels"], 0)]
    assert task.score(rows, encoded, logits)[task.metric] == pytest.approx(100.0)
