"""Masking for masked language modelling (Devlin et al. 2019), new in every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mpjax.errors import InputError
from mpjax.tasks import seeds
from mpjax.tasks.base import IGNORE, Encoded
from mpjax.tasks.batches import ALL, Batch, Batches

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

_MASK, _STREAM = 17, 19  # random streams


@dataclass(frozen=True)
class MaskSettings:
    """Tokens of a vocabulary as masking needs them, and the share of tokens to mask."""

    special_ids: tuple[int, ...]  # never masked
    mask_id: int
    vocab_size: int
    share: float = 0.15

    @classmethod
    def of(cls, tokenizer: Tokenizer, share: float = 0.15) -> MaskSettings:
        """Settings of a tokenizer; `InputError` if it has no mask token."""
        mask_id = tokenizer.mask_token_id
        if not isinstance(mask_id, int):
            raise InputError("masked language modelling needs a tokenizer with a mask token")
        return cls(tuple(tokenizer.all_special_ids), mask_id, len(tokenizer), share)


class MaskedBatches(Batches):
    """Batches with dynamic masking (Liu et al. 2019): masks are drawn from (seed, step) alone.

    With masks drawn once, a model would see each word of a small corpus always masked or never.

    Args:
      encoded: of a masked-LM task; its masks are undone and drawn anew.
    """

    def __init__(
        self,
        encoded: Encoded,
        batch_size: int,
        seed: int,
        settings: MaskSettings,
        lengths: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(encoded, batch_size, seed, lengths)
        self._settings = settings

    def batch(self, step: int, part: slice = ALL, length: int | None = None) -> Batch:
        """Batch of a step with its masks, which depend on neither `part` nor `length`."""
        batch, own = super().batch(step, part, length), slice(self.length(step))
        ids = np.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])
        maskable = ~np.isin(ids, self._settings.special_ids) & (batch["attention_mask"] == 1)
        draw = int(seeds.raw(self.seed, _STREAM, step, 1)[0])
        labels, among = np.full_like(ids, IGNORE), (self.batch_size, part)
        ids[:, own], labels[:, own] = mask_tokens(
            ids[:, own], maskable[:, own], self._settings, draw, among
        )
        return {**batch, "input_ids": ids, "labels": labels}


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    settings: MaskSettings,
    seed: int,
    part: tuple[int, slice] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Masks a share of the `maskable` tokens.

    80% of the chosen tokens become the mask token, 10% a random token, 10% stay (Devlin et al.
    2019, section 3.1).

    Args:
      ids: int (n, L).
      maskable: bool (n, L).
      settings: mask token, vocabulary size and share.
      seed: of the draw.
      part: (n, slice) if `ids` are a slice of n rows: draws equal those of all n rows.

    Returns:
      (ids, labels), int32 (n, L); labels hold the true token at chosen positions, else -100.
    """
    n, rows = part or (len(ids), ALL)
    draws = seeds.uniform(seed, _MASK, 0, 3 * n * ids.shape[1]).reshape(3, n, ids.shape[1])
    choice, action, other = draws[:, rows]
    chosen = maskable & (choice < settings.share)
    labels = np.where(chosen, ids, IGNORE)
    random = other * settings.vocab_size
    masked = np.where(action < 0.8, settings.mask_id, np.where(action < 0.9, random, ids))
    return np.where(chosen, masked, ids).astype(np.int32), labels.astype(np.int32)
