"""The order of a model's classes: as the user gives it, and as its scores show it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.models import Model
from mpjax.models.hf.labels import order_of
from mpjax.tasks.base import Task

MOST_CLASSES = 6  # 720 orders
_POINTS, _ERRORS = 10.0, 3.0  # an order is better by more points and standard errors than these


def given_places(task: Task, labels: str | None) -> dict[str, int] | None:
    """Index in a model's classifier of every class of a task, from ``--labels``.

    Raises:
      InputError: a task without classes, or labels that are not the task's in some order.
    """
    if labels is None:
        return None
    if not task.labels:
        raise InputError(f"--labels is for tasks with classes; {task.name} has none, leave it out")
    names = [name.strip() for name in labels.split(",")]
    order = order_of(names, task.labels)
    if order is None:
        raise InputError(
            f"--labels {shown(labels)} must hold the labels of {task.name}, "
            f"{shown(', '.join(task.labels))}, each once, in the order of the model's classes"
        )
    return dict(zip(task.labels, order, strict=True))


def untrained(model: Model, task: Task, what: str) -> str:
    """Reason why a model without a trained head does not fit a task."""
    if model.other_labels:
        found, wanted = (f"{len(n)} classes, {shown(','.join(n))}" for n in (
            model.other_labels, task.labels or ("one value",)))  # fmt: skip
        return f"{what} has a head of {found}, where {task.name} has {wanted}"
    return f"{what} has no trained head for {task.name} (missing: {', '.join(model.fresh)})"


def check_order(model: Model, task: Task, logits: np.ndarray, gold: np.ndarray, what: str) -> None:
    """Warns where the classes of a model seem to be in another order than assumed."""
    if task.head != "classification":
        return
    advice = hint(logits, gold, task.labels, model.places or None)
    if advice is not None:
        log.warning(
            "%s: %s; give that to mpjax evaluate --labels, or correct id2label in its config.json",
            what, advice,
        )  # fmt: skip


def better_order(predicted: np.ndarray, gold: np.ndarray, classes: int) -> tuple[int, ...] | None:
    """Meaning of every predicted class under which accuracy is far better; None without one.

    The standard error is that of the mean difference between the two orders over the rows.

    Args:
      predicted: class indices (n,).
      gold: class indices (n,).

    >>> gold = np.arange(300) % 3
    >>> better_order((gold + 1) % 3, gold, 3)
    (2, 0, 1)
    >>> better_order(gold, gold, 3) is None
    True
    """
    n = len(gold)
    if not n or not 2 <= classes <= MOST_CLASSES:
        return None
    counts = np.zeros((classes, classes), np.int64)  # predicted, gold
    np.add.at(counts, (predicted, gold), 1)
    own = np.arange(classes)
    orders = [np.array(order) for order in itertools.permutations(range(classes))]
    best = max(orders, key=lambda order: int(counts[own, order].sum()))  # the first of equals
    gain = (best[predicted] == gold).astype(np.float64) - (predicted == gold)
    error = np.std(gain) / np.sqrt(n)
    if 100.0 * np.mean(gain) <= _POINTS or np.mean(gain) <= _ERRORS * error:
        return None
    return tuple(best.tolist())


def hint(
    logits: np.ndarray,
    gold: np.ndarray,
    labels: Sequence[str],
    places: Sequence[int] | None = None,
) -> str | None:
    """Advice about the order of a model's classes, None where the assumed one is best.

    Args:
      logits: (n, classes), in the order of ``labels``.
      gold: class indices (n,).
      places: index in the model's own classifier of every class; None: the order of ``labels``.
    """
    predicted = np.argmax(logits, axis=-1)
    order = better_order(predicted, gold, len(labels))
    if order is None:
        return None
    own = range(len(labels)) if places is None else places
    names = [""] * len(labels)
    for i, place in enumerate(own):
        names[place] = labels[order[i]]
    before = 100.0 * np.mean(predicted == gold)
    after = 100.0 * np.mean(np.asarray(order)[predicted] == gold)
    return (
        f"accuracy is {before:.1f}, and would be {after:.1f} if the model's classes were "
        f"{','.join(names)}, in this order"
    )
