"""Tokenization of texts and pairs of texts to padded arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

CHUNK = 4096  # texts per tokenizer call: its token lists take ten times the memory of the arrays


def padding_arrays(n: int, width: int, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """Ids, attention mask and token types of `n` rows of padding, int32 (n, width)."""
    pad = 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return {
        "input_ids": np.full((n, width), pad, np.int32),
        "attention_mask": np.zeros((n, width), np.int32),
        "token_type_ids": np.zeros((n, width), np.int32),
    }


def tokenized(tokenizer: Tokenizer, *texts: Any, **options: Any) -> Any:
    """Tokens of texts; `InputError` where the tokenizer's files do not fit together."""
    try:
        return tokenizer(*texts, **options)
    except Exception as error:  # the library raises bare Exceptions, such as for a missing [UNK]
        raise InputError(
            f"the tokenizer of {tokenizer.name_or_path} cannot encode the data ({shown(error)}); "
            "copy the tokenizer files of the pretrained model into its folder again"
        ) from error


def check_room(tokenizer: Tokenizer, max_length: int, *, pair: bool) -> None:
    """Raises `InputError` where a length holds nothing but the special tokens."""
    special = tokenizer.num_special_tokens_to_add(pair=pair)
    if max_length <= special:
        raise InputError(
            f"--max-length {max_length} leaves no room beside {special} special tokens; raise it"
        )


def encode_texts(
    firsts: Sequence[str], seconds: Sequence[str] | None, tokenizer: Tokenizer, max_length: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Tokenizes texts, or pairs if `seconds` is given, with special tokens around them.

    Truncation removes tokens from the end of the longer text. Padding is on the right whatever the
    tokenizer's default, because batches are cut on the right.

    Returns:
      (arrays int32 (n, max_length), lengths int32 (n,)).

    Raises:
      InputError: `max_length` holds nothing but the special tokens.
    """
    check_room(tokenizer, max_length, pair=seconds is not None)
    n = len(firsts)
    arrays = padding_arrays(n, max_length, tokenizer)
    lengths = np.zeros(n, np.int32)
    for begin in range(0, n, CHUNK):
        end = min(begin + CHUNK, n)
        tokens = tokenized(
            tokenizer,
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
