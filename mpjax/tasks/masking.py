"""Masked language modelling with new masks in every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpjax.tasks import seeds
from mpjax.tasks.base import IGNORE, Encoded
from mpjax.tasks.batches import ALL, Batch, Batches

_MASK, _STREAM = 17, 19  # streams of random numbers


class MaskedBatches(Batches):
    """Batches whose hidden words are drawn anew, from (seed, step) alone.

    With masks drawn once a model would see each word of a small corpus hidden or never.

    Args:
      encoded: of a masked-LM task, masked in whatever way.
      special: ids that are never hidden. mask_id: of the mask token.
      share: of the words to hide.
    """

    def __init__(
        self,
        encoded: Encoded,
        batch_size: int,
        seed: int,
        lengths: tuple[int, ...] | None,
        *,
        special: list[int],
        mask_id: int,
        vocab_size: int,
        share: float,
    ) -> None:
        super().__init__(encoded, batch_size, seed, lengths)
        self._special = special
        self._settings: dict[str, Any] = {
            "mask_id": mask_id, "vocab_size": vocab_size, "share": share,
        }  # fmt: skip

    def batch(self, step: int, part: slice = ALL, length: int | None = None) -> Batch:
        """The batch of a step, with its own masks, which are the same in every length and part."""
        batch, own = super().batch(step, part, length), slice(self.length(step))
        ids = np.where(batch["labels"] == IGNORE, batch["input_ids"], batch["labels"])
        maskable = ~np.isin(ids, self._special) & (batch["attention_mask"] == 1)
        draw = int(seeds.raw(self.seed, _STREAM, step, 1)[0])
        labels, among = np.full_like(ids, IGNORE), (self.batch_size, part)
        ids[:, own], labels[:, own] = mask_tokens(
            ids[:, own], maskable[:, own], seed=draw, part=among, **self._settings
        )
        return {**batch, "input_ids": ids, "labels": labels}


def mask_tokens(
    ids: np.ndarray,
    maskable: np.ndarray,
    mask_id: int,
    vocab_size: int,
    seed: int,
    share: float = 0.15,
    part: tuple[int, slice] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Hide a `share` of the `maskable` tokens: (ids, labels), int32 (n, L).

    Of the chosen, 80% become `mask_id`, 10% a random token, 10% stay (Devlin et al. 2019). Labels
    hold the true token there and -100 elsewhere. Of (n, slice) the `ids` are that slice of n rows,
    and are hidden as they would be among all of them.
    """
    n, rows = part or (len(ids), slice(None))
    draws = seeds.uniform(seed, _MASK, 0, 3 * n * ids.shape[1]).reshape(3, n, ids.shape[1])
    chosen, fate, other = draws[:, rows]
    asked = maskable & (chosen < share)
    labels = np.where(asked, ids, IGNORE)
    hidden = np.where(fate < 0.8, mask_id, np.where(fate < 0.9, other * vocab_size, ids))
    return np.where(asked, hidden, ids).astype(np.int32), labels.astype(np.int32)
