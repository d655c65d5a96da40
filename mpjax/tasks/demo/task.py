"""Corpus, tokenizer and tasks of the built-in toy language, generated from seeds.

They let ``mpjax quickstart`` and the tests run fine-pruning end to end without a network. Results
show how methods differ on a small noiseless problem, and say nothing about English.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpjax.errors import InputError
from mpjax.tasks.base import IGNORE, Data, Encoded, Row, Task, check_split
from mpjax.tasks.demo import claims as demo_claims
from mpjax.tasks.demo import opinions as demo_opinions
from mpjax.tasks.demo import stories as demo_stories
from mpjax.tasks.demo.words import VOCABULARY
from mpjax.tasks.features import encode_texts
from mpjax.tasks.glue import metrics
from mpjax.tasks.glue.task import GlueTask
from mpjax.tasks.masking import MaskSettings, mask_tokens
from mpjax.tasks.seeds import Dice
from mpjax.tasks.squad.task import SquadTask

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROWS = {"train": 8000, "dev": 1000}
SEED = 20_05_07683  # of all splits; tasks differ by stream
_CORPUS, _TASK = 16, 32  # random streams


def corpus(seed: int, n: int) -> list[str]:
    """`n` texts of one to four sentences for pretraining; a shorter corpus is a prefix of a longer.

    >>> corpus(seed=0, n=3) == corpus(seed=0, n=5)[:3]
    True
    """
    return [text(Dice(seed, _CORPUS, i))["text"] for i in range(n)]


def text(dice: Dice) -> Row:
    """Text of the corpus, as a row of demo_mlm."""
    make = dice.pick([demo_opinions.reaction, demo_claims.dialogue, demo_stories.lesson])
    return {"text": make(dice)}


def tokenizer() -> Tokenizer:
    """BERT tokenizer of the language: one token per word, letters for other words."""
    import transformers  # here, not above: it takes seconds to import, and scoring needs none of it

    return transformers.BertTokenizer(
        vocab={token: i for i, token in enumerate(_tokens())}, do_lower_case=True
    )


def write_tokenizer(folder: Path) -> Path:
    """Writes the tokenizer's files to `folder`, from which ``AutoTokenizer`` loads it offline."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save_pretrained(str(folder))
    (folder / "vocab.txt").write_text("\n".join(_tokens()) + "\n", encoding="utf-8")
    return folder


def generated(data: Data, split: str, stream: int, make: Callable[[Dice], Row]) -> list[Row]:
    """Rows of a demo task. No text occurs twice in a split or in both splits.

    Raises:
      InputError: unknown split, or `data` is given.
    """
    check_split(split)
    if data is not None:
        raise InputError(f"data: the demo tasks make their own data; leave out --data {data}")
    return [dict(row) for row in _generated(split, stream, make)]


@functools.cache
def _generated(split: str, stream: int, make: Callable[[Dice], Row]) -> list[Row]:
    """Rows as of `generated`, made once in a process; not to be changed."""
    rows: list[Row] = []
    seen: set[str] = set()
    number = 0
    while len(rows) < ROWS["dev"] + (ROWS["train"] if split == "train" else 0):
        row = make(Dice(SEED, _TASK + stream, number))
        number += 1
        key = " ".join(str(row[name]) for name in row if name != "label")
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows[ROWS["dev"] :] if split == "train" else rows


@dataclass(frozen=True)
class DemoClassification(GlueTask):
    """Classification task with rows from the generator `make`."""

    stream: int = 0
    make: Callable[[Dice], Row] = field(default=demo_claims.inference, repr=False)

    def read(self, data: Data = None, split: str = "train") -> list[Row]:
        return generated(data, split, self.stream, self.make)


@dataclass(frozen=True)
class DemoQuestions(SquadTask):
    """Questions on toy stories."""

    stream: int = 0

    def read(self, data: Data = None, split: str = "train") -> list[Row]:
        rows = generated(data, split, self.stream, demo_stories.question)
        return [{"id": f"{split}-{i}", **row} for i, row in enumerate(rows)]


@dataclass(frozen=True)
class DemoMaskedLM(Task):
    """Masked language modelling of toy texts. Rows are ``{"text"}``."""

    mask_seed: int = SEED
    mask_share: float = 0.25  # more than the usual 0.15, since texts are short

    def read(self, data: Data = None, split: str = "train") -> list[Row]:
        return generated(data, split, 0, text)

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        settings = MaskSettings.of(tokenizer, self.mask_share)
        arrays, lengths = encode_texts([r["text"] for r in rows], None, tokenizer, max_length)
        ids = arrays["input_ids"]
        maskable = ~np.isin(ids, settings.special_ids)
        arrays["input_ids"], arrays["labels"] = mask_tokens(ids, maskable, settings, self.mask_seed)
        return Encoded(arrays, lengths)

    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        labels = encoded.arrays["labels"]
        masked = labels != IGNORE
        predicted = np.argmax(logits[masked], axis=-1)
        return {"accuracy": metrics.accuracy(predicted, labels[masked])}


def sentiment(dice: Dice) -> Row:
    """Row of demo_sentiment: ``sentence`` and ``label`` (1 = favourable)."""
    text, good = demo_opinions.opinion(dice)
    return {"sentence": f"{text} .", "label": int(good)}


def _tokens() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    parts = [f"{prefix}{letter}" for prefix in ("", "##") for letter in letters]
    return list(dict.fromkeys([*SPECIAL, *VOCABULARY, *parts]))
