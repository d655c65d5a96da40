"""Weights of classes in the loss, from the labels of the training rows."""

from __future__ import annotations

import numpy as np

from mpjax.errors import InputError
from mpjax.tasks.base import IGNORE, Encoded, Task

WEIGHTED = ("classification", "tokens")  # heads whose loss takes weights of classes


def class_weights(task: Task, encoded: Encoded, kind: str | None) -> tuple[float, ...] | None:
    """Balanced weights n / (k·n_c) of k classes with n_c of n labels each; None without a kind.

    A class without a label in the training rows has weight 1, which no row uses.

    Raises:
      InputError: a task without classes.
    """
    if kind is None:
        return None
    if task.head not in WEIGHTED:
        raise InputError(
            f"--class-weights {kind} is for tasks with classes; {task.name} has none, leave it out"
        )
    return balanced(encoded.arrays["labels"], task.num_labels)


def balanced(labels: np.ndarray, classes: int) -> tuple[float, ...]:
    """Balanced weights of integer labels of any shape, those of -100 left out.

    >>> balanced(np.array([0, 0, 0, 1, -100]), 2)
    (0.6666666666666666, 2.0)
    """
    counts = np.bincount(labels[labels != IGNORE], minlength=classes)
    seen = int(np.sum(counts > 0))
    return tuple(float(counts.sum() / (seen * n)) if n else 1.0 for n in counts.tolist())
