"""Label words that `--label-words` gives, and its checks."""

from __future__ import annotations

from mpjax import tasks
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import shown

AUTO = "auto"  # label words where the folder has a masked-LM head and no trained one


def given_words(config: TrainConfig) -> tuple[str, ...]:
    """Words of the option, () without it and for `AUTO`.

    >>> given_words(TrainConfig(label_words="terrible, great"))
    ('terrible', 'great')
    """
    if config.label_words in (None, AUTO):
        return ()
    return tuple(word.strip() for word in str(config.label_words).split(","))


def check_label_words(config: TrainConfig) -> None:
    """Raises `InputError` for words that are empty or occur twice, or a task without classes."""
    words = given_words(config)
    if not words:
        return
    where, head = f"--label-words {shown(config.label_words)}", tasks.get(config.task).head
    if head != "classification":
        raise InputError(
            f"{where} does not apply to {config.task}, a task of the kind {head}: words stand for "
            "the classes of texts; leave it out"
        )
    if not all(words):
        raise InputError(f"{where} has an empty word; give one word for each label, with commas")
    for word in words:
        if words.count(word) > 1:
            raise InputError(f"{where} names {shown(word)} twice; every label needs its own word")
