"""Length-bucketed batches, each a pure function of (seed, step).

An epoch is a random permutation of the rows, cut into stretches of 50 batches. Rows of a stretch
are sorted by bucket (the shortest of a few fixed lengths that holds the row), so that batches have
few shapes and little padding; then the batches of the epoch are shuffled. There is no iterator
state: a resumed run asks for the batch of its next step.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np

from mpjax.errors import InputError
from mpjax.tasks import seeds
from mpjax.tasks.base import Encoded

LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
ALL = slice(None)
STRETCH = 50  # batches sorted together: sorting more of them saves under 1% more padding
_ROWS, _ORDER = 1, 2  # random streams

Batch = dict[str, np.ndarray]


def bucket_lengths(width: int, lengths: Sequence[int] | None = None) -> tuple[int, ...]:
    """Padded lengths of batches: the `lengths` below `width`, and `width` itself.

    >>> bucket_lengths(100)
    (16, 32, 48, 64, 96, 100)
    >>> bucket_lengths(100, lengths=(64,))
    (64, 100)
    """
    chosen = LENGTHS if lengths is None else lengths
    if any(length < 1 for length in chosen):
        raise InputError(f"batch lengths must be positive, found {tuple(chosen)}")
    return (*sorted({length for length in chosen if length < width}), width)


class Batches:
    """Training batches of an encoded data set.

    Arrays of a batch have `batch_size` rows. Per-token arrays have the smallest bucket length that
    holds the longest row of the batch. The remainder of an epoch, less than a batch, is dropped;
    each epoch drops other rows.

    Raises:
      InputError: fewer rows than `batch_size`.
    """

    def __init__(
        self, encoded: Encoded, batch_size: int, seed: int, lengths: Sequence[int] | None = None
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch size must be at least 1, found {batch_size}")
        if batch_size > len(encoded):
            raise InputError(
                f"batch size {batch_size} is more than the {len(encoded)} training rows; lower it"
            )
        self.encoded = encoded
        self.batch_size = batch_size
        self.seed = seed
        self.lengths = bucket_lengths(encoded.width, lengths)
        self.steps_per_epoch = len(encoded) // batch_size
        self._epoch = lru_cache(maxsize=2)(self._epoch_rows)

    def rows(self, step: int) -> np.ndarray:
        """Row indices of the global batch of a step, int64 (batch_size,)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[place]

    def length(self, step: int) -> int:
        """Padded length of the global batch of a step."""
        return _bucket(self.encoded.lengths[self.rows(step)], self.lengths)

    @property
    def longest(self) -> int:
        """Padded length of a batch that holds the longest row."""
        return _bucket(self.encoded.lengths, self.lengths)

    def batch(self, step: int, part: slice = ALL, length: int | None = None) -> Batch:
        """Batch of a step, counted from 0 over all epochs.

        Args:
          part: rows of the global batch to return; a process feeds only its own.
          length: padded length, at least `length(step)`, which is the default.
        """
        return take(self.encoded, self.rows(step)[part], length or self.length(step))

    def with_array(self, name: str, array: np.ndarray) -> Batches:
        """Batches with one more array of the training rows, (n, ...)."""
        arrays = {**self.encoded.arrays, name: array}
        twin = copy.copy(self)
        twin.encoded = dataclasses.replace(self.encoded, arrays=arrays)
        return twin

    def _epoch_rows(self, epoch: int) -> np.ndarray:
        """Row indices of the batches of an epoch, int64 (steps_per_epoch, batch_size)."""
        steps, size = self.steps_per_epoch, self.batch_size
        order = seeds.permutation(self.seed, _ROWS, epoch, len(self.encoded))[: steps * size]
        stretch = np.arange(steps * size) // (STRETCH * size)
        # Sorted by bucket, not by length: padding is the same, and length often tells the label, so
        # batches of one length would be batches of one label. The stable sort keeps the random
        # order inside a bucket.
        buckets = np.searchsorted(self.lengths, self.encoded.lengths[order])
        order = order[np.lexsort((buckets, stretch))]
        return order.reshape(steps, size)[seeds.permutation(self.seed, _ORDER, epoch, steps)]


def eval_batches(
    encoded: Encoded, batch_size: int, lengths: Sequence[int] | None = None, part: slice = ALL
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Batches of all rows for evaluation, shortest rows first.

    Yields (batch, row indices int64 (batch_size,)). The last batch repeats its last row to keep the
    batch size; `collect` writes results by row index, so repeats are harmless.

    Args:
      part: rows of each batch to return, as in `Batches.batch`; the row indices are of the global
        batch.
    """
    if batch_size < 1:
        raise InputError(f"batch size must be at least 1, found {batch_size}")
    buckets = bucket_lengths(encoded.width, lengths)
    order = np.argsort(encoded.lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        rows = order[begin : begin + batch_size]
        rows = np.concatenate([rows, np.repeat(rows[-1:], batch_size - len(rows))])
        yield take(encoded, rows[part], _bucket(encoded.lengths[rows], buckets)), rows


def collect(encoded: Encoded, results: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Gathers the outputs of batches into one array in row order.

    Per-token outputs, recognised by their three axes, become (n, L, ...) with zeros past the length
    of their batch.

    Args:
      results: pairs (row indices, output (batch_size, ...)).
    """
    out: np.ndarray | None = None
    for rows, values in results:
        values = np.asarray(values)
        if out is None:
            tail = values.shape[1:] if values.ndim < 3 else (encoded.width, *values.shape[2:])
            out = np.zeros((len(encoded), *tail), values.dtype)
        if values.ndim < 3:
            out[rows] = values
        else:
            out[rows, : values.shape[1]] = values
    if out is None:
        raise InputError("nothing to evaluate: the data set has no rows")
    return out


def take(encoded: Encoded, rows: np.ndarray, length: int) -> Batch:
    """Batch of some rows, per-token arrays cut to `length`; unsigned integers become int32."""
    batch = {
        name: array[rows, :length] if _per_token(array) else array[rows]
        for name, array in encoded.arrays.items()
    }
    return {n: a.astype(np.int32) if a.dtype.kind == "u" else a for n, a in batch.items()}


def _per_token(array: np.ndarray) -> bool:
    """True for ids and masks (integers, two axes) and for logits per token (three axes)."""
    return array.ndim == 3 or (array.ndim == 2 and array.dtype.kind in "iu")


def _bucket(lengths: np.ndarray, buckets: Sequence[int]) -> int:
    return buckets[int(np.searchsorted(buckets, int(lengths.max())))]
