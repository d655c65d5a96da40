"""Weights of classes: in the loss, in the loss of guessing, and where there are no classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from labelled import reviews, squad, stories, write_csv

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import demo
from mpjax.tasks.base import DataOptions
from mpjax.tasks.chance import guessing_losses
from mpjax.tasks.own.weights import balanced, class_weights
from mpjax.training.losses import distillation_loss, task_loss

WEIGHTS = (0.5, 3.0, 1.0)
LABELS = np.array([0, 0, 1, 2, -100, 0, 1, 0])


def cross_entropies(logits, labels):
    """-log softmax by hand, float64 (n,)."""
    logits = np.asarray(logits, np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log(shares[np.arange(len(labels)), labels])


@pytest.mark.parametrize("head", ["classification", "tokens"])
def test_the_loss_weighs_every_label(head):
    logits = jax.random.normal(jax.random.key(0), (len(LABELS), 3))
    kept = LABELS >= 0
    if head == "classification":
        logits, labels = logits[kept], LABELS[kept]
    else:
        logits, labels = logits[None], LABELS[None]
    expected = cross_entropies(logits.reshape(-1, 3)[: len(LABELS)], np.maximum(labels.ravel(), 0))
    each = np.array(WEIGHTS)[np.maximum(labels.ravel(), 0)] * (labels.ravel() >= 0)
    loss = task_loss(head, WEIGHTS)(logits, {"labels": jnp.asarray(labels)})
    np.testing.assert_allclose(loss, np.sum(expected * each) / kept.sum(), rtol=1e-5)
    equal = task_loss(head, (1.0, 1.0, 1.0))(logits, {"labels": jnp.asarray(labels)})
    plain = task_loss(head)(logits, {"labels": jnp.asarray(labels)})
    np.testing.assert_allclose(equal, plain, rtol=1e-6)


def test_a_teacher_leaves_the_weights_to_the_labels():
    logits, labels = jnp.zeros((2, 3)), jnp.array([0, 1])
    batch = {"labels": labels, "teacher_logits": logits}
    loss = distillation_loss("classification", weights=WEIGHTS)(logits, batch)
    assert float(loss) == pytest.approx(0.1 * 1.75 * np.log(3), rel=1e-5)


def test_balanced_classes_count_alike():
    weights = balanced(LABELS, 4)
    assert weights == pytest.approx((7 / 12, 7 / 6, 7 / 3, 1.0))
    counts = np.array([4, 2, 1])
    np.testing.assert_allclose(counts * weights[:3], 7 / 3)


def test_guessing_with_balanced_weights_is_guessing_among_equal_classes():
    labels = LABELS[LABELS >= 0]
    arrays = {"labels": labels}
    guess = guessing_losses("classification", arrays, balanced(labels, 3))
    assert guess.mean() == pytest.approx(np.log(3))
    # The best constant output by search: no other has less weighted loss.
    best = np.log(np.array(WEIGHTS) * np.bincount(labels))
    each = np.array(WEIGHTS)[labels]
    found = guessing_losses("classification", arrays, WEIGHTS).mean()
    assert found == pytest.approx(np.mean(each * cross_entropies(np.tile(best, (7, 1)), labels)))
    rng = np.random.default_rng(0)
    for other in best + rng.normal(0, 0.1, (20, 3)):
        assert np.mean(each * cross_entropies(np.tile(other, (7, 1)), labels)) > found


def test_weights_follow_the_training_rows(tmp_path):
    path = reviews(tmp_path / "r.csv", 40, labels=("a", "a", "a", "b"))
    task = tasks.get("classification").fit(path, DataOptions())
    encoded = task.encode(task.read(path, "dev"), demo.tokenizer(), 16)
    assert class_weights(task, encoded, "balanced") == pytest.approx((2 / 3, 2))
    assert class_weights(task, encoded, None) is None


@pytest.mark.parametrize("name", ["regression", "qa"])
def test_tasks_without_classes_have_no_weights(tmp_path, name):
    if name == "qa":
        path = squad(tmp_path / "x.json", stories(3))
    else:
        path = write_csv(tmp_path / "x.csv", ("text", "score"), [("a", 1), ("b", 2)])
    task = tasks.get(name).fit(path, DataOptions())
    encoded = task.encode(task.read(path, "dev"), demo.tokenizer(), 32)
    with pytest.raises(InputError, match=f"--class-weights balanced .*{name} has none"):
        class_weights(task, encoded, "balanced")
