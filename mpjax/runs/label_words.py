"""Head of the model that a run starts from: a trained one, label words, or a new one.

Label words stand for the classes of a masked language model's head (Jiang et al. 2022, arXiv
2210.06210); see `mpjax.models.label_words`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from mpjax import models
from mpjax.config.label_words import AUTO, given_words
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.models import LABEL_WORDS, Model
from mpjax.models.hf.labels import order_of
from mpjax.parallel.consensus import first
from mpjax.runs.opening import load_for_task
from mpjax.tasks.base import Task

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer


def load_to_train(config: TrainConfig, folder: Path, task: Task, tokenizer: Tokenizer) -> Model:
    """Model of a run with the head that `--label-words` asks for, which is logged in one line.

    ``auto`` takes the trained head of the folder, without one the task's own label words, and a new
    head where these do not fit.

    Raises:
      InputError: words given for a folder without a masked-LM head, of another number than the
        labels, or that are not one token each; and as `load_for_task`.
    """
    if words := given_words(config):
        return _worded(config, folder, task, tokenizer, words)
    model = load_for_task(folder, task, config.dtype, config.seed, masked=False)
    if config.label_words != AUTO:
        return model
    if not model.fresh:
        kind = "label words" if model.head == LABEL_WORDS else "classifier"
        _say(f"the trained {kind if task.head == 'classification' else 'head'} of {shown(folder)}")
        return model
    if task.head != "classification":
        _say(f"a new one; label words are for the classes of texts, {task.name} has none")
        return model
    why = f"{task.name} has no label words of its own, --label-words gives some"
    if task.label_words:
        try:
            return _worded(config, folder, task, tokenizer, task.label_words)
        except InputError as error:
            why = str(error)
    _say(f"a new classifier; {why}")
    return model


def token_ids(words: tuple[str, ...], tokenizer: Tokenizer, where: str) -> tuple[int, ...]:
    """Id of every word, as it is tokenized within a sentence.

    Args:
      where: option and its value, for the message.

    Raises:
      InputError: a word that is unknown or not one token, or two words of one token.
    """
    found: dict[int, str] = {}
    for word in words:
        # A space first, as in the published code: RoBERTa has other tokens for the start of a text.
        ids = tokenizer.encode(f" {word}", add_special_tokens=False)
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            what = f"{len(ids)} tokens of" if len(ids) != 1 else "unknown to"
            raise InputError(
                f"{where}: {shown(word)} is {what} the model's tokenizer; give a word that is one "
                "token"
            )
        if ids[0] in found:
            raise InputError(
                f"{where}: {shown(found[ids[0]])} and {shown(word)} are one token of the model's "
                "tokenizer; give every label its own word"
            )
        found[ids[0]] = word
    return tuple(found)


def other_order(words: tuple[str, ...], task: Task) -> tuple[str, ...] | None:
    """Words in the order of a task's labels, where their meaning tells another than the given one.

    Words tell it that are the task's own, or names of its labels.

    >>> from mpjax import tasks
    >>> other_order(("great", "terrible"), tasks.get("sst2"))
    ('terrible', 'great')
    >>> other_order(("good", "bad"), tasks.get("sst2"))
    ('bad', 'good')
    """
    for known in (task.label_words, task.labels):
        order = order_of(words, known)
        if order is not None:
            better = tuple(words[i] for i in order)
            return None if better == words else better
    return None


def _worded(
    config: TrainConfig, folder: Path, task: Task, tokenizer: Tokenizer, words: tuple[str, ...]
) -> Model:
    """Masked language model of a folder as a classifier by label words."""
    where = f"--label-words {shown(config.label_words)}"
    if len(words) != len(task.labels):
        raise InputError(
            f"{where} has {len(words)} words, and {task.name} has {len(task.labels)} labels; give "
            f"one for each of {shown(', '.join(task.labels))}, in this order"
        )
    ids = token_ids(words, tokenizer, where)
    if (better := other_order(words, task)) is not None and first():
        log.warning(
            "%s: by their meaning the words for %s are %s, in this order; check it",
            where, shown(",".join(task.labels)), shown(",".join(better)),
        )  # fmt: skip
    model = models.load_with_scores(folder, "mlm", seed=config.seed, dtype=config.dtype)
    if model.fresh:
        raise InputError(
            f"{where}: {folder} has no masked-LM head (missing: {', '.join(model.fresh)}); give "
            "the folder of a pretrained model that has it, or leave the option out"
        )
    pairs = zip(words, task.labels, strict=True)
    told = ", ".join(f"{shown(word)} for {shown(label)}" for word, label in pairs)
    _say(f"the masked-LM head of {shown(folder)}, {told}")
    model = models.with_label_words(model, task.labels, words, ids)
    return dataclasses.replace(model, params=jax.device_get(model.params))


def _say(what: str) -> None:
    if first():
        log.info("head: %s", what)
