"""The loss of guessing is the least loss of a model that gives one output for all inputs."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.tasks.chance import guessing_losses
from mpjax.training.losses import task_loss

LABELS = np.array([0, 0, 0, 2, 1, 2, 0, 0], np.int32)  # shares 5/8, 1/8, 2/8


def entropy(counts):
    shares = np.array(counts) / np.sum(counts)
    return -np.sum(shares * np.log(shares))


def test_classes_have_the_entropy_of_their_shares():
    losses = guessing_losses("classification", {"labels": LABELS})
    assert losses.tolist() == pytest.approx([-math.log({0: 5, 1: 1, 2: 2}[i] / 8) for i in LABELS])
    assert losses.mean() == pytest.approx(entropy([5, 1, 2]))


def test_numbers_have_their_variance():
    labels = np.array([0.0, 1.5, 5.0, 2.25], np.float32)
    losses = guessing_losses("regression", {"labels": labels})
    assert losses.mean() == pytest.approx(np.var(labels)) and losses.shape == (4,)


def test_answers_have_the_mean_entropy_of_start_and_end():
    arrays = {"start_positions": LABELS, "end_positions": np.arange(8, dtype=np.int32)}
    losses = guessing_losses("qa", arrays)
    assert losses.mean() == pytest.approx((entropy([5, 1, 2]) + math.log(8)) / 2)


def test_masked_tokens_have_the_entropy_of_the_predicted_ones():
    labels = np.array([[-100, 7, 7], [9, -100, -100], [-100, -100, -100]], np.int32)
    losses = guessing_losses("mlm", {"labels": labels})
    assert losses.tolist() == pytest.approx([entropy([2, 1])] * 3)
    assert guessing_losses("mlm", {"labels": labels[2:]}).tolist() == [0.0]


@pytest.mark.parametrize("head", ["classification", "regression", "qa"])
def test_no_single_output_has_a_lower_loss(head):
    rng = np.random.default_rng(0)
    if head == "regression":
        arrays = {"labels": rng.normal(3, 2, 50).astype(np.float32)}
        best = np.full((50, 1), arrays["labels"].mean())
    else:
        names = ["labels"] if head == "classification" else ["start_positions", "end_positions"]
        arrays = {name: rng.binomial(4, 0.4, 50).astype(np.int32) for name in names}
        logs = [np.log(np.bincount(array, minlength=5) / 50 + 1e-30) for array in arrays.values()]
        best = np.stack([np.stack(logs, -1)] * 50) if head == "qa" else np.stack(logs * 50)
    batch = {name: jnp.asarray(array) for name, array in arrays.items()}
    loss, guess = task_loss(head), guessing_losses(head, arrays)
    assert float(loss(jnp.asarray(best), batch)) == pytest.approx(guess.mean(), rel=1e-5)
    for _ in range(20):
        other = best + rng.normal(0, 0.3, best.shape[1:])
        assert float(loss(jnp.asarray(other), batch)) > guess.mean()
    some = {name: array[:8] for name, array in batch.items()}
    assert float(loss(jnp.asarray(best[:8]), some)) == pytest.approx(guess[:8].mean(), rel=1e-5)
