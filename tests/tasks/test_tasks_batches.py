"""Batches: rows and shapes of each step."""

import numpy as np
import pytest

from mpjax.errors import InputError
from mpjax.tasks import seeds
from mpjax.tasks.base import Encoded
from mpjax.tasks.batches import Batches, bucket_lengths, collect, eval_batches


def encoded(n: int, width: int = 128, seed: int = 0) -> Encoded:
    """Rows with their index as first token, and lengths skewed as in real text."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.gamma(2.0, 12.0, n).astype(np.int32) + 3, 3, width)
    mask = (np.arange(width)[None, :] < lengths[:, None]).astype(np.int32)
    ids = mask * rng.integers(5, 99, (n, width)).astype(np.int32)
    ids[:, 0] = np.arange(n)
    labels = np.arange(n, dtype=np.int32)
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask, "labels": labels}
    return Encoded(arrays, lengths)


def test_an_epoch_holds_each_row_once_but_for_the_dropped_tail() -> None:
    batches = Batches(encoded(1000), 32, seed=3)
    assert batches.steps_per_epoch == 31
    dropped = []
    for epoch in range(3):
        steps = range(31 * epoch, 31 * (epoch + 1))
        rows = np.concatenate([batches.batch(step)["labels"] for step in steps])
        assert len(set(rows.tolist())) == len(rows) == 31 * 32
        dropped.append(frozenset(range(1000)) - set(rows.tolist()))
    assert len(set(dropped)) == 3  # other rows are left out each time


def test_the_dropped_tail_is_not_the_longest_rows() -> None:
    data = encoded(1000)
    kept = Batches(data, 600, seed=0).rows(0)
    assert abs(data.lengths[kept].mean() - data.lengths.mean()) < 2


def test_a_batch_is_a_pure_function_of_seed_and_step() -> None:
    data = encoded(500)
    steps = [0, 7, 61, 8, 7, 0, 30, 31, 93, 0]
    straight = Batches(data, 16, seed=5)
    whole = [straight.batch(step) for step in range(94)]
    jumping = Batches(data, 16, seed=5)
    for step in steps:
        fresh = Batches(data, 16, seed=5).batch(step)
        for name, array in whole[step].items():
            np.testing.assert_array_equal(jumping.batch(step)[name], array)
            np.testing.assert_array_equal(fresh[name], array)


def test_epochs_and_seeds_differ() -> None:
    data = encoded(512)
    a, b = Batches(data, 16, seed=0), Batches(data, 16, seed=1)
    assert not np.array_equal(a.rows(0), b.rows(0))
    assert not np.array_equal(a.rows(0), a.rows(32))
    # The stream depends on seed and epoch apart, not on their sum.
    assert not np.array_equal(a.rows(32), b.rows(0))


def test_batches_are_right_rows_in_few_shapes_with_nothing_cut_off() -> None:
    data = encoded(2000)
    batches = Batches(data, 32, seed=0)
    shapes = set()
    for step in range(batches.steps_per_epoch):
        batch, rows = batches.batch(step), batches.rows(step)
        length = batches.length(step)
        assert batch["input_ids"].shape == batch["attention_mask"].shape == (32, length)
        assert batch["labels"].shape == (32,)
        assert length in batches.lengths
        np.testing.assert_array_equal(batch["attention_mask"].sum(1), data.lengths[rows])
        np.testing.assert_array_equal(batch["input_ids"][:, 0], rows)
        assert all(array.dtype == np.int32 for array in batch.values())
        # The next smaller bucket would have been too short.
        assert max([x for x in batches.lengths if x < length], default=0) < data.lengths[rows].max()
        shapes.add(length)
    assert len(shapes) <= len(batches.lengths)


def test_padding_is_a_fraction_of_padding_to_the_maximum() -> None:
    data = encoded(20_000)
    batches = Batches(data, 32, seed=0)
    steps = range(batches.steps_per_epoch)
    paid = sum(32 * batches.length(step) for step in steps)
    needed = sum(int(data.lengths[batches.rows(step)].sum()) for step in steps)
    assert 32 * 128 * len(steps) > 4 * needed  # what padding to the maximum would cost
    assert paid < 1.45 * needed
    shuffled = np.random.default_rng(0).permutation(20_000)[: 32 * len(steps)].reshape(-1, 32)
    longest = data.lengths[shuffled].max(axis=1)  # padding each random batch to its longest row
    assert paid < 0.75 * 32 * longest.sum()


def test_batches_of_an_epoch_do_not_come_sorted() -> None:
    data = encoded(5000)
    batches = Batches(data, 32, seed=0)
    lengths = np.array([batches.length(step) for step in range(batches.steps_per_epoch)])
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.3
    assert abs(np.corrcoef(lengths[1:], lengths[:-1])[0, 1]) < 0.3


def test_bucket_lengths_end_at_the_width() -> None:
    assert bucket_lengths(128)[-1] == 128
    assert bucket_lengths(10) == (10,)
    assert bucket_lengths(64, (32, 64, 500)) == (32, 64)
    assert bucket_lengths(64, ()) == (64,)
    with pytest.raises(InputError, match="positive"):
        bucket_lengths(64, (0,))


def test_batch_sizes_that_cannot_be() -> None:
    with pytest.raises(InputError, match="batch size 32 is more than the 10 training rows"):
        Batches(encoded(10), 32, seed=0)
    with pytest.raises(InputError, match="at least 1"):
        Batches(encoded(10), 0, seed=0)
    with pytest.raises(InputError, match="at least 1"):
        next(eval_batches(encoded(10), 0))


@pytest.mark.parametrize("n", [1, 7, 64, 65])
def test_evaluation_sees_each_row_and_collects_in_row_order(n: int) -> None:
    data = encoded(n)
    results, tokens = [], []
    for batch, rows in eval_batches(data, 16):
        assert batch["input_ids"].shape[0] == len(rows) == 16
        np.testing.assert_array_equal(batch["labels"], rows)
        results.append((rows, np.stack([rows, -rows], axis=1)))
        tokens.append((rows, batch["input_ids"][:, :, None] * np.array([1, 2])))
    np.testing.assert_array_equal(collect(data, results)[:, 0], np.arange(n))
    whole = collect(data, tokens)
    np.testing.assert_array_equal(whole[..., 0], data.arrays["input_ids"])
    np.testing.assert_array_equal(whole[..., 1], 2 * data.arrays["input_ids"])


def test_nothing_to_collect_is_an_error() -> None:
    with pytest.raises(InputError, match="no rows"):
        collect(encoded(0), [])


def test_streams_are_independent_and_uniform() -> None:
    places = [(0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1)]
    drawn = [seeds.raw(*place, 4).tolist() for place in places]
    assert len({tuple(numbers) for numbers in drawn}) == 4
    assert seeds.raw(0, 1, 0, 2).tolist() == drawn[0][:2]
    values = seeds.uniform(7, 1, 0, 100_000)
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.005
    counts = np.zeros((5, 5))
    for index in range(2000):
        counts[np.arange(5), seeds.permutation(0, 1, index, 5)] += 1
    assert abs(counts / 2000 - 0.2).max() < 0.05


def test_dice_are_fair_and_repeat() -> None:
    dice = seeds.Dice(0, 0, 0)
    throws = [dice.below(6) for _ in range(6000)]
    again = seeds.Dice(0, 0, 0)
    assert throws == [again.below(6) for _ in range(6000)]
    assert max(abs(throws.count(face) - 1000) for face in range(6)) < 150
    assert sorted(dice.sample("abcde", 5)) == list("abcde")
    assert abs(sum(dice.chance(30) for _ in range(5000)) - 1500) < 150


def test_random_numbers_are_the_same_everywhere() -> None:
    """First block of the published Philox4x64-10 for key (1, 0), computed apart."""
    assert seeds.raw(1, 0, 0, 4).tolist() == _philox(key=(1, 0), counter=1)


def _philox(key: tuple[int, int], counter: int) -> list[int]:
    """Philox of Salmon et al. 2011 in Python integers. NumPy increments before its first block."""
    size = 2**64
    c, k = [counter, 0, 0, 0], list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(b // size) ^ c[1] ^ k[0], b % size, (a // size) ^ c[3] ^ k[1], a % size]
        k = [(k[0] + 0x9E3779B97F4A7C15) % size, (k[1] + 0xBB67AE8584CAA73B) % size]
    return c
