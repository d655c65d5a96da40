"""Metrics of GLUE in percent, from arrays of predictions and labels.

An undefined metric (a constant prediction has no correlation) is 0.
"""

from __future__ import annotations

import numpy as np


def accuracy(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Percentage of equal entries.

    >>> accuracy(np.array([1, 0, 1, 1]), np.array([1, 1, 1, 1]))
    75.0
    """
    return 100.0 * float(np.mean(predicted == gold)) if len(gold) else 0.0


def f1(predicted: np.ndarray, gold: np.ndarray) -> float:
    """F1 of class 1: 2·TP / (2·TP + FP + FN).

    >>> f1(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    50.0
    """
    both = float(np.sum((predicted == 1) & (gold == 1)))
    wrong = float(np.sum((predicted == 1) != (gold == 1)))
    return 100.0 * 2 * both / (2 * both + wrong) if both else 0.0


def matthews(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Matthews correlation of binary labels, which is their Pearson correlation.

    >>> matthews(np.array([0, 1, 0, 1]), np.array([0, 1, 0, 1]))
    100.0
    """
    return pearson((predicted == 1).astype(np.float64), (gold == 1).astype(np.float64))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation: cov(x, y) / (std(x)·std(y)), in float64.

    >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    -100.0
    """
    if len(x) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0  # tested before centring, whose rounding can make a constant vary
    a = x.astype(np.float64) - np.mean(x, dtype=np.float64)
    b = y.astype(np.float64) - np.mean(y, dtype=np.float64)
    return 100.0 * float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation: Pearson correlation of the ranks.

    >>> spearman(np.array([1.0, 2.0, 30.0]), np.array([0.1, 0.2, 0.3]))
    100.0
    """
    return pearson(ranks(x), ranks(y))


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1, float64 (n,); tied values get their mean rank.

    >>> ranks(np.array([10, 20, 10]))
    array([1.5, 3. , 1.5])
    """
    _, group, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2.0)[group]
