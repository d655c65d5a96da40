"""Texts and pairs of texts as padded token arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpjax.errors import InputError

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

CHUNK = 4096  # texts tokenised at a time: token lists take ten times the room of the arrays


def blank(n: int, width: int, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """`n` rows of nothing but padding: ids, attention mask and token types, int32 (n, width)."""
    pad = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return {
        "input_ids": np.full((n, width), pad, np.int32),
        "attention_mask": np.zeros((n, width), np.int32),
        "token_type_ids": np.zeros((n, width), np.int32),
    }


def encode_texts(
    firsts: Sequence[str], seconds: Sequence[str] | None, tokenizer: Tokenizer, max_length: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Texts, or pairs when `seconds` is given, with the tokenizer's special tokens around them.

    Returns (arrays int32 (n, max_length), lengths int32 (n,)). What is too long loses tokens from
    the end of its longer text. Padding is on the right whatever the tokenizer prefers, because
    batches are cut there.
    """
    special = tokenizer.num_special_tokens_to_add(pair=seconds is not None)
    if max_length <= special:
        raise InputError(
            f"max length {max_length} leaves no room beside {special} special tokens; raise it"
        )
    n = len(firsts)
    arrays = blank(n, max_length, tokenizer)
    lengths = np.zeros(n, np.int32)
    for begin in range(0, n, CHUNK):
        end = min(begin + CHUNK, n)
        tokens = tokenizer(
            list(firsts[begin:end]),
            None if seconds is None else list(seconds[begin:end]),
            truncation=True,
            max_length=max_length,
            return_token_type_ids=True,
            return_attention_mask=False,
        )
        ids, types = tokens["input_ids"], tokens["token_type_ids"]
        for i in range(end - begin):
            length = len(ids[i])
            lengths[begin + i] = length
            arrays["input_ids"][begin + i, :length] = ids[i]
            arrays["attention_mask"][begin + i, :length] = 1
            arrays["token_type_ids"][begin + i, :length] = types[i]
    return arrays, lengths
