"""Loss of guessing: the least training loss of a model that ignores its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpjax.tasks.base import IGNORE, Head


def guessing_losses(head: Head, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Loss of every training row for the best constant output, float64 (n,).

    * classification: −log p(label), p the shares of the labels; the mean is their entropy
    * regression: (label − mean)²; the mean is the variance
    * qa: −log p(position) of start and end, averaged, p the shares of the positions
    * mlm: the entropy of the predicted tokens, the same for every row, whose masks change

    A batch has the mean over its rows. So a batch with more of the rare labels has a larger loss.

    Args:
      arrays: labels of the encoded rows, as in `Encoded`.

    >>> guessing_losses("regression", {"labels": np.array([0.0, 2.0, 4.0])}).tolist()
    [4.0, 0.0, 4.0]
    """
    if head == "qa":
        positions = (arrays["start_positions"], arrays["end_positions"])
        return sum(map(_surprisal, positions), np.zeros(())) / 2
    labels = arrays["labels"]
    if head == "regression":
        return np.square(labels.astype(np.float64) - np.mean(labels, dtype=np.float64))
    if head == "mlm":
        predicted = labels[labels != IGNORE]
        return np.full(len(labels), np.mean(_surprisal(predicted)) if len(predicted) else 0.0)
    return _surprisal(labels)


def _surprisal(values: np.ndarray) -> np.ndarray:
    """−log of the share of each value among all, float64 (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return -np.log(counts / len(values))[place]
