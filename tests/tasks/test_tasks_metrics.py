"""Metrics of GLUE against their definitions."""

import numpy as np
import pytest

from mpjax.tasks.glue import metrics


def confusion(a: np.ndarray, b: np.ndarray) -> tuple[int, int, int, int]:
    counts = {(x, y): 0 for x in (0, 1) for y in (0, 1)}
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        counts[x, y] += 1
    return counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_binary_metrics_from_the_confusion_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    guess, gold = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    tp, fp, fn, tn = confusion(guess, gold)
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    assert metrics.accuracy(guess, gold) == pytest.approx(100 * (tp + tn) / 50)
    assert metrics.f1(guess, gold) == pytest.approx(
        100 * 2 * precision * recall / (precision + recall)
    )
    root = np.sqrt(float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
    assert metrics.matthews(guess, gold) == pytest.approx(100 * (tp * tn - fp * fn) / root)


def test_f1_is_of_class_one_only() -> None:
    guess, gold = np.array([1, 1, 0, 0, 0]), np.array([1, 0, 0, 0, 1])
    assert metrics.f1(guess, gold) == pytest.approx(50.0)
    assert metrics.f1(1 - guess, 1 - gold) == pytest.approx(200 / 3)


def test_pearson_is_blind_to_scale_and_shift_and_sees_sign() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.normal(size=30)
    expected = 100 * np.corrcoef(x, y)[0, 1]
    assert metrics.pearson(x, y) == pytest.approx(expected)
    assert metrics.pearson(3 * x - 7, y) == pytest.approx(expected)
    assert metrics.pearson(-x, y) == pytest.approx(-expected)
    big = (1e4 + x).astype(np.float32)
    assert metrics.pearson(big, big) == pytest.approx(100.0)


def test_spearman_is_blind_to_monotone_maps_and_shares_ties() -> None:
    x = np.array([1.0, 2.0, 2.0, 5.0, 9.0])
    y = np.array([3.0, 1.0, 4.0, 4.0, 4.0])
    # By hand: ranks 1, 2.5, 2.5, 4, 5 and 2, 1, 4, 4, 4.
    a, b = np.array([1, 2.5, 2.5, 4, 5]), np.array([2, 1, 4, 4, 4.0])
    assert metrics.ranks(x).tolist() == a.tolist()
    assert metrics.ranks(y).tolist() == b.tolist()
    expected = 100 * np.corrcoef(a, b)[0, 1]
    assert metrics.spearman(x, y) == pytest.approx(expected)
    assert metrics.spearman(np.exp(x), y**3) == pytest.approx(expected)


@pytest.mark.parametrize("metric", [metrics.pearson, metrics.spearman, metrics.matthews])
def test_a_constant_has_no_correlation(metric) -> None:
    assert metric(np.full(4, 0.1), np.array([0, 1, 1, 0])) == 0.0


def test_f1_without_a_true_positive_is_zero() -> None:
    assert metrics.f1(np.zeros(3), np.zeros(3)) == 0.0
    assert metrics.f1(np.ones(3), np.zeros(3)) == 0.0
