"""The built-in toy language: a corpus, a tokenizer and tasks, made from seeds alone.

It exists so that ``mpjax quickstart`` and the tests can run the whole of fine-pruning without a
network. Results on it say how methods differ on a small clean problem and nothing about English.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from mpjax.tasks.masking import mask_tokens
from mpjax.tasks.seeds import Dice
from mpjax.tasks.squad.task import SquadTask

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROWS = {"train": 8000, "dev": 1000}
SEED = 20_05_07683  # of every split; the tasks differ by stream
_CORPUS, _TASK = 16, 32  # streams of random numbers


def corpus(seed: int, n: int) -> list[str]:
    """`n` texts of one to four sentences for pretraining; a longer corpus begins like a shorter.

    >>> corpus(seed=0, n=3) == corpus(seed=0, n=5)[:3]
    True
    """
    return [text(Dice(seed, _CORPUS, i))["text"] for i in range(n)]


def text(dice: Dice) -> Row:
    """One text of the corpus, as a row of demo_mlm."""
    make = dice.pick([demo_opinions.reaction, demo_claims.dialogue, demo_stories.lesson])
    return {"text": make(dice)}


def tokenizer() -> Tokenizer:
    """A BERT tokenizer of the language: every word is one token, other words go by letters."""
    import transformers

    return transformers.BertTokenizer(
        vocab={token: i for i, token in enumerate(_tokens())}, do_lower_case=True
    )


def write_tokenizer(folder: Path) -> Path:
    """Write the tokenizer's files to `folder`, from which ``AutoTokenizer`` loads it offline."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer().save_pretrained(str(folder))
    (folder / "vocab.txt").write_text("\n".join(_tokens()) + "\n", encoding="utf-8")
    return folder


def generated(data: Data, split: str, stream: int, make: Callable[[Dice], Row]) -> list[Row]:
    """Rows of a demo task; no text is in both splits or twice in one."""
    check_split(split)
    if data is not None:
        raise InputError(f"data: the demo tasks make their own data; leave out {data}")
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
    """A classification task whose rows come from `make`."""

    stream: int = 0
    make: Callable[[Dice], Row] = field(default=demo_claims.inference, repr=False)

    def read(self, data: Data = None, split: str = "train") -> list[Row]:
        return generated(data, split, self.stream, self.make)


@dataclass(frozen=True)
class DemoQuestions(SquadTask):
    """Questions on toy passages."""

    stream: int = 0

    def read(self, data: Data = None, split: str = "train") -> list[Row]:
        rows = generated(data, split, self.stream, demo_stories.question)
        return [{"id": f"{split}-{i}", **row} for i, row in enumerate(rows)]


@dataclass(frozen=True)
class DemoMaskedLM(Task):
    """Masked language modelling of `corpus`. Rows are ``{"text"}``."""

    mask_seed: int = SEED
    mask_share: float = 0.25  # of the words; more than usual, as the texts are short

    def read(self, data: Data = None, split: str = "train") -> list[Row]:
        return generated(data, split, 0, text)

    def encode(self, rows: Sequence[Row], tokenizer: Tokenizer, max_length: int) -> Encoded:
        arrays, lengths = encode_texts([r["text"] for r in rows], None, tokenizer, max_length)
        ids = arrays["input_ids"]
        arrays["input_ids"], arrays["labels"] = mask_tokens(
            ids,
            ~np.isin(ids, tokenizer.all_special_ids),
            _mask_id(tokenizer),
            len(tokenizer),
            self.mask_seed,
            self.mask_share,
        )
        return Encoded(arrays, lengths)

    def score(self, rows: Sequence[Row], encoded: Encoded, logits: np.ndarray) -> dict[str, float]:
        labels = encoded.arrays["labels"]
        asked = labels != IGNORE
        guess = np.argmax(logits[asked], axis=-1)
        return {"accuracy": metrics.accuracy(guess, labels[asked])}


def sentiment(dice: Dice) -> Row:
    """A row of demo_sentiment: ``sentence`` and ``label`` (1 = favourable)."""
    text, good = demo_opinions.opinion(dice)
    return {"sentence": f"{text} .", "label": int(good)}


def _mask_id(tokenizer: Any) -> int:
    if tokenizer.mask_token_id is None:
        raise InputError("masked language modelling needs a tokenizer with a mask token")
    return tokenizer.mask_token_id


def _tokens() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    parts = [f"{prefix}{letter}" for prefix in ("", "##") for letter in letters]
    return list(dict.fromkeys([*SPECIAL, *VOCABULARY, *parts]))
