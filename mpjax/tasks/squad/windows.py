"""Overlapping token windows of a question and a passage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpjax.errors import InputError
from mpjax.tasks.features import tokenized

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer


@dataclass(frozen=True)
class PairTemplate:
    """Special tokens and token types of a tokenizer's pair encoding.

    Windows are joined from slices of token arrays, so each passage is tokenized once for all its
    questions and windows.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, int, int, int, int]  # before, first text, between, second text, after

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairTemplate:
        """Template of a fast tokenizer, read from its encoding of a pair of one-token texts."""
        pair = tokenized(tokenizer, "a", "a", return_token_type_ids=True)
        ids, types, which = pair["input_ids"], pair["token_type_ids"], pair.sequence_ids(0)
        assert isinstance(ids, list) and isinstance(types, list)
        firsts = [i for i, w in enumerate(which) if w == 0]
        seconds = [i for i, w in enumerate(which) if w == 1]
        if not firsts or not seconds:
            raise InputError(
                f"the tokenizer of {tokenizer.name_or_path} has no token for 'a'; copy the "
                "tokenizer files of the pretrained model into its folder again"
            )
        a, b, c, d = firsts[0], firsts[-1] + 1, seconds[0], seconds[-1] + 1
        return cls(
            before=tuple(ids[:a]),
            between=tuple(ids[b:c]),
            after=tuple(ids[d:]),
            types=(types[0], types[a], types[b], types[c], types[-1]),
        )

    @property
    def special(self) -> int:
        """Number of special tokens around a pair."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Joins a pair: int32 ids, int32 token types, and the index where `second` begins."""
        parts = (self.before, first, self.between, second, self.after)
        sizes = [len(part) for part in parts]
        ids = np.concatenate([np.asarray(part, np.int32) for part in parts])
        return ids, np.repeat(np.asarray(self.types, np.int32), sizes), sum(sizes[:3])


def window_ranges(n: int, room: int, advance: int) -> Iterator[tuple[int, int]]:
    """Token ranges [begin, end) of windows of `room` tokens, `advance` tokens apart.

    >>> list(window_ranges(10, room=6, advance=3))
    [(0, 6), (3, 9), (6, 10)]
    """
    begin = 0
    while True:
        end = min(begin + room, n)
        yield begin, end
        if end == n:
            return
        begin += min(advance, room)


def max_context(ranges: list[tuple[int, int]], n: int) -> list[np.ndarray]:
    """Marks the tokens of each window that have maximal context there, bool (tokens of window,).

    Context of a token in a window: min(tokens to its left, tokens to its right) + 0.01·(window
    size); ties go to the earlier window (``is_max_context`` of BERT's run_squad.py, Devlin et al.
    2019).
    """
    token = np.arange(n)
    scores = np.full((len(ranges), n), -1.0)
    for w, (begin, end) in enumerate(ranges):
        inside = token[begin:end]
        nearest = np.minimum(inside - begin, end - 1 - inside)
        scores[w, begin:end] = nearest + 0.01 * (end - begin)
    best = np.argmax(scores, axis=0)
    return [best[begin:end] == w for w, (begin, end) in enumerate(ranges)]
