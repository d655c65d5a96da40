"""Label words: words of the vocabulary that stand for the classes of a masked language model.

The logits of the classes are those of their words at the first token, as the code of SMP (Jiang et
al. 2022, arXiv 2210.06210) reads them where an input has no mask token. Such a model is stored as
the masked language model that it is. Its ``config.json`` adds the words and their ids, so that
`transformers` gives the same logits: ``logits[:, 0, config.label_word_ids]``.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models.config import EncoderConfig

LABEL_WORDS = "label_words"  # name of the head, and key of the words in config.json
WORD_IDS = "label_word_ids"  # key of their ids


def stored_as(head: str) -> str:
    """Head whose tensors and class name a head has in a folder.

    >>> stored_as("label_words"), stored_as("qa")
    ('mlm', 'qa')
    """
    return "mlm" if head == LABEL_WORDS else head


def word_ids(config: EncoderConfig) -> tuple[int, ...]:
    """Rows of the word table that stand for the classes, in the order of the logits.

    Raises:
      InputError: no list of different ids of the vocabulary, one for each label.
    """
    ids = config.extra.get(WORD_IDS)
    if not isinstance(ids, list | tuple) or not all(_is_row(i, config) for i in ids):
        ids = ()
    if not ids or len(set(ids)) < len(ids) or len(ids) != config.num_labels:
        raise InputError(
            f"{WORD_IDS} must list {config.num_labels} different ids below "
            f"{config.vocab_size}, one for each label, found "
            f"{shown(repr(config.extra.get(WORD_IDS)))}"
        )
    return tuple(ids)


def with_words(
    config: EncoderConfig, labels: Sequence[str], words: Sequence[str], ids: Sequence[int]
) -> EncoderConfig:
    """Config whose labels are told by words; all three in the order of the logits.

    >>> from mpjax.models import BertConfig
    >>> word_ids(with_words(BertConfig(), ["neg", "pos"], ["bad", "good"], [2919, 2204]))
    (2919, 2204)
    """
    extra = {**config.extra, LABEL_WORDS: list(words), WORD_IDS: list(ids)}
    return replace(config, id2label=tuple(labels), extra=extra)


def without_words(config: EncoderConfig) -> EncoderConfig:
    """Config for another head, which has no label words."""
    extra = {k: v for k, v in config.extra.items() if k not in (LABEL_WORDS, WORD_IDS)}
    return config if len(extra) == len(config.extra) else replace(config, extra=extra)


def reordered(config: EncoderConfig, order: Sequence[int]) -> EncoderConfig:
    """Config with the words in another order: the i-th is the ``order[i]``-th of before."""
    lists = {key: config.extra.get(key) for key in (LABEL_WORDS, WORD_IDS)}
    moved: dict[str, Any] = {
        key: [found[i] for i in order]
        for key, found in lists.items()
        if isinstance(found, list | tuple) and len(found) == len(order)
    }
    return replace(config, extra={**config.extra, **moved})


def _is_row(value: object, config: EncoderConfig) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return 0 <= value < config.vocab_size
