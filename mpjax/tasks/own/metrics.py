"""Metrics of classes beyond those of GLUE, in percent."""

from __future__ import annotations

import numpy as np


def macro_f1(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Mean F1 of the classes that occur, in gold or predicted; each counts alike.

    F1 of a class is 2·TP / (rows predicted + rows that are). A prediction below 0 is of no class.

    >>> round(macro_f1(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])), 2)
    77.78
    """
    classes = np.union1d(predicted, gold)
    classes = classes[classes >= 0]
    if not len(classes):
        return 0.0
    scores = [
        2.0 * np.sum((predicted == c) & (gold == c)) / (np.sum(predicted == c) + np.sum(gold == c))
        for c in classes
    ]
    return 100.0 * float(np.mean(scores))
