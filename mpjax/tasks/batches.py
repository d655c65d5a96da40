"""Batches of few shapes and little padding, each a pure function of (seed, step).

An epoch is a random order of the rows, cut into stretches of about fifty batches. Inside a stretch
rows are sorted by the fixed length that holds them, so that a batch is padded to little more than
its rows need and is otherwise random; then the order of all the epoch's batches is shuffled.
Nothing is carried from step to step: a run that stops goes on by asking for the next step.
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
_ROWS, _ORDER = 1, 2  # streams of random numbers

Batch = dict[str, np.ndarray]


def bucket_lengths(width: int, lengths: Sequence[int] | None = None) -> tuple[int, ...]:
    """The lengths batches are padded to: those of `lengths` below `width`, and `width` itself.

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

    Every array of a batch has `batch_size` rows; those with one entry per token have the smallest
    bucket length that holds the batch's longest row. Rows that fill no whole batch are left out of
    an epoch, other ones each time. `InputError` if there are fewer rows than `batch_size`.
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
        self._epoch = lru_cache(maxsize=2)(self._plan)

    def rows(self, step: int) -> np.ndarray:
        """Which rows make up the global batch of a step, int64 (batch_size,)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[place]

    def length(self, step: int) -> int:
        """The padded length of a step's global batch."""
        return _bucket(self.encoded.lengths[self.rows(step)], self.lengths)

    def batch(self, step: int, part: slice = ALL, length: int | None = None) -> Batch:
        """The batch of a step, counted from 0 over all epochs.

        Args:
          part: of its rows, for a process that feeds no others; nothing else is read.
          length: to pad it to, instead of its own `length(step)`; not less than that.
        """
        return take(self.encoded, self.rows(step)[part], length or self.length(step))

    def with_array(self, name: str, array: np.ndarray) -> Batches:
        """The same batches with one more array of the training rows, (n, ...)."""
        arrays = {**self.encoded.arrays, name: array}
        twin = copy.copy(self)
        twin.encoded = dataclasses.replace(self.encoded, arrays=arrays)
        return twin

    def _plan(self, epoch: int) -> np.ndarray:
        """Rows of every batch of an epoch, int64 (steps_per_epoch, batch_size)."""
        steps, size = self.steps_per_epoch, self.batch_size
        order = seeds.permutation(self.seed, _ROWS, epoch, len(self.encoded))[: steps * size]
        stretch = np.arange(steps * size) // (STRETCH * size)
        # Sorted by bucket, not by length: it costs no padding, and length often betrays the label,
        # so that batches of one length would be batches of one label. Stable, to stay random else.
        buckets = np.searchsorted(self.lengths, self.encoded.lengths[order])
        order = order[np.lexsort((buckets, stretch))]
        return order.reshape(steps, size)[seeds.permutation(self.seed, _ORDER, epoch, steps)]


def eval_batches(
    encoded: Encoded, batch_size: int, lengths: Sequence[int] | None = None, part: slice = ALL
) -> Iterator[tuple[Batch, np.ndarray]]:
    """Every row once, as (batch, row numbers int64 (batch_size,)), shortest rows first.

    The last batch is filled up by repeating its last row, so writing results by row number is
    right as it stands (see `collect`).

    Args:
      part: of the rows of every batch, see `Batches.batch`; the row numbers are those of all.
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
    """Outputs per batch as one array in row order: pairs (row numbers, output (batch_size, ...)).

    Outputs with one entry per token come in the batches' lengths; here they are (n, L, ...) with
    zeros past a batch's length. An output is taken to be per token when it has three axes.
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
    """Those rows of every array; arrays with one entry per token cut to `length`."""
    return {
        name: array[rows, :length] if _per_token(array) else array[rows]
        for name, array in encoded.arrays.items()
    }


def _per_token(array: np.ndarray) -> bool:
    """Ids and masks are integers with two axes; a teacher's logits per token have three."""
    return array.ndim == 3 or (array.ndim == 2 and array.dtype.kind in "iu")


def _bucket(lengths: np.ndarray, buckets: Sequence[int]) -> int:
    return buckets[int(np.searchsorted(buckets, int(lengths.max())))]
