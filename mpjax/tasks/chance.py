"""Loss of guessing: the least training loss of a model that ignores its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpjax.tasks.base import IGNORE, Head


def guessing_losses(
    head: Head, arrays: Mapping[str, np.ndarray], weights: Sequence[float] | None = None
) -> np.ndarray:
    """Loss of every training row for the best constant output, float64 (n,).

    * classification: −log p(label), p the shares of the labels; the mean is their entropy
    * regression: (label − mean)²; the mean is the variance
    * qa: −log p(position) of start and end, averaged, p the shares of the positions
    * mlm: the entropy of the predicted tokens, the same for every row, whose masks change
    * tokens: the entropy of the labels of tokens, the same for every row

    With weights w of the classes: −w(label)·log p(label), p the shares of the summed weights.

    A batch has the mean over its rows. So a batch with more of the rare labels has a larger loss.

    Args:
      arrays: labels of the encoded rows, as in `Encoded`.
      weights: of the classes in the loss; None = equal ones.

    >>> guessing_losses("regression", {"labels": np.array([0.0, 2.0, 4.0])}).tolist()
    [4.0, 0.0, 4.0]
    """
    if head == "qa":
        positions = (arrays["start_positions"], arrays["end_positions"])
        return sum(map(_surprisal, positions), np.zeros(())) / 2
    labels = arrays["labels"]
    if head == "regression":
        return np.square(labels.astype(np.float64) - np.mean(labels, dtype=np.float64))
    each = None if weights is None else np.asarray(weights)
    if head in ("mlm", "tokens"):
        predicted = labels[labels != IGNORE]
        mean = np.mean(_surprisal(predicted, each)) if len(predicted) else 0.0
        return np.full(len(labels), mean)
    return _surprisal(labels, each)


def _surprisal(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """−w·log of the weighted share of each value among all, float64 (n,)."""
    found, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    each = np.ones(len(found)) if weights is None else weights[found]
    total = each * counts
    return (-each * np.log(total / total.sum()))[place]
