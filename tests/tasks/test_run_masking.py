"""Masks of masked language modelling: new in every step, equal in every run."""

import numpy as np
import pytest

from mpjax import tasks
from mpjax.config.train import TrainConfig
from mpjax.tasks import demo
from mpjax.tasks.base import IGNORE
from mpjax.tasks.batches import Batches
from mpjax.training.prepare import make_batches

CONFIG = TrainConfig(batch_size=16, seed=3)


@pytest.fixture(scope="module")
def pieces():
    task, tokenizer = tasks.get("demo_mlm"), demo.tokenizer()
    encoded = task.encode(task.read(None, "dev")[:64], tokenizer, 48)
    return encoded, tokenizer, make_batches(task, encoded, tokenizer, CONFIG, None)


def test_a_batch_depends_on_seed_and_step_alone(pieces):
    encoded, tokenizer, batches = pieces
    task = tasks.get("demo_mlm")
    again = make_batches(task, encoded, tokenizer, CONFIG, None)
    other = make_batches(task, encoded, tokenizer, TrainConfig(batch_size=16, seed=4), None)
    for step in (5, 0, 2):
        for name, array in batches.batch(step).items():
            assert array.dtype == np.int32
            np.testing.assert_array_equal(array, again.batch(step)[name])
    assert not np.array_equal(batches.batch(0)["labels"], other.batch(0)["labels"])


def test_texts_stay_and_masks_change_from_epoch_to_epoch(pieces):
    encoded, _, batches = pieces
    plain = Batches(encoded, 16, CONFIG.seed)
    hidden = {}
    for step in range(2 * batches.steps_per_epoch):
        batch, expected = batches.batch(step), plain.batch(step)
        text, true = (
            np.where(b["labels"] == IGNORE, b["input_ids"], b["labels"]) for b in (batch, expected)
        )
        np.testing.assert_array_equal(text, true)
        for row, labels in zip(batches.rows(step), batch["labels"], strict=True):
            hidden.setdefault(int(row), []).append(np.flatnonzero(labels != IGNORE).tolist())
    assert len(hidden) == len(encoded)
    assert sum(a == b for a, b in hidden.values()) < len(encoded) / 4


def test_padding_further_changes_no_mask(pieces):
    batches = pieces[2]
    step = next(s for s in range(batches.steps_per_epoch) if batches.length(s) < 48)
    own, longer = batches.batch(step), batches.batch(step, length=48)
    for name, array in own.items():
        assert longer[name].shape == (16, 48)
        np.testing.assert_array_equal(longer[name][:, : array.shape[1]], array)
    assert (longer["labels"][:, batches.length(step) :] == IGNORE).all()


def test_the_share_of_words_is_hidden_and_nothing_else(pieces):
    _, tokenizer, batches = pieces
    asked = words = masked = 0
    for step in range(40):
        batch = batches.batch(step)
        chosen = batch["labels"] != IGNORE
        assert not np.isin(batch["labels"][chosen], tokenizer.all_special_ids).any()
        assert not chosen[batch["attention_mask"] == 0].any()
        asked += chosen.sum()
        words += batch["attention_mask"].sum() - 2 * len(chosen)  # without [CLS] and [SEP]
        masked += (batch["input_ids"][chosen] == tokenizer.mask_token_id).sum()
    assert asked / words == pytest.approx(tasks.get("demo_mlm").mask_share, abs=0.02)
    assert masked / asked == pytest.approx(0.8, abs=0.03)
