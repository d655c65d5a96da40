"""Where the k largest entries end, by counting: no sort, no gather.

A small sample of each array says between which keys its k-th largest most likely lies. A round then
sorts the entries into 256 bins across these keys, a byte each, a quarter of the size; eight passes,
each a count of the entries at or above a pivot, find the bin; and the next round makes 256 bins of
it. All arrays share the loops, so on a sharded array a pass is a local count and one small
all-reduce. Wrong guesses cost a round. No pass is made after every group has a pivot with exactly k
entries at or above it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mpjax.pruning.topk.counting import GROUP, as_rows, count_true
from mpjax.pruning.topk.keys import ordered_keys

_SAMPLE = 1024  # entries that a first guess at the cut is made from


class Cut(NamedTuple):
    """Where the k largest of each group end; arrays of shape (groups,)."""

    key: jax.Array  # the k largest are at or above it
    above: jax.Array  # int32: entries strictly above it, where not exact
    exact: jax.Array  # bool: exactly k are at or above it


def group_sizes(arrays: Sequence[jax.Array], joint: bool) -> np.ndarray:
    """Entries of every group."""
    sizes = np.array([a.size for a in arrays], dtype=np.int64)
    return sizes.sum(keepdims=True) if joint else sizes


def per_array(groups: Any, arrays: Sequence[jax.Array]) -> list[Any]:
    """A tree of (groups,) arrays as one tree of scalars for every array."""
    return [jax.tree.map(lambda g, i=i: g[i % g.shape[0]], groups) for i in range(len(arrays))]


class _Span(NamedTuple):
    """Keys between which the cut of each group lies, both included; arrays of shape (groups,)."""

    low: jax.Array
    high: jax.Array
    at_low: jax.Array  # int32: entries at or above low, k or more
    above: jax.Array  # int32: entries above high, fewer than k


def find_cut(arrays: Sequence[jax.Array], wanted: jax.Array, joint: bool) -> Cut:
    """The cut of every group: 256 bins across the keys it may lie between, then across a bin."""
    unsigned = jax.eval_shape(ordered_keys, arrays[0]).dtype.type
    lowest, highest = jnp.zeros(wanted.shape, unsigned), jnp.full(wanted.shape, ~unsigned(0))
    sizes = jnp.asarray(group_sizes(arrays, joint), jnp.int32)
    start = _Span(lowest, highest, sizes, jnp.zeros_like(wanted))
    # Every round tells 8 bits; a first guess that is wrong costs one more.
    rounds = unsigned().itemsize + (0 if joint else 1)
    guess = (lowest, highest) if joint else _guess(arrays, wanted)

    def unfinished(state):
        left, span, _ = state
        return (left > 0) & jnp.any((span.at_low != wanted) & (span.low != span.high))

    def one_round(state):
        left, span, (first, last) = state
        span = _narrow(arrays, wanted, span, first, last, joint)
        return left - 1, span, (span.low, span.high)

    _, span, _ = jax.lax.while_loop(unfinished, one_round, (rounds, start, guess))
    return Cut(span.low, span.above, span.at_low == wanted)


def _narrow(
    arrays: Sequence[jax.Array],
    wanted: jax.Array,
    span: _Span,
    first: jax.Array,
    last: jax.Array,
    joint: bool,
) -> _Span:
    """The part of ``span`` that one of 256 bins covers, which lie from ``first`` to ``last``.

    What is below the bins counts to the lowest of them and what is above to the highest.
    """
    unsigned = first.dtype.type
    bits = unsigned(8 * unsigned().itemsize)
    shift = bits - jnp.minimum(jax.lax.clz(last - first), bits - unsigned(8)) - unsigned(8)
    inside = (unsigned(1) << shift) - unsigned(1)  # from the first key of a bin to its last
    # So that the last key of the last bin is a number of this dtype, too.
    first = jnp.minimum(first, ~unsigned(0) - ((unsigned(255) << shift) + inside))
    starts, shifts = per_array(first, arrays), per_array(shift, arrays)
    # Keys are made anew in every round, which is faster than to read them from memory.
    arrays, starts = jax.lax.optimization_barrier((tuple(arrays), starts))
    bins = [
        _bin_of(ordered_keys(array), low, by)
        for array, low, by in zip(arrays, starts, shifts, strict=True)
    ]

    def bits_left(state):
        left, _, at_bin, _ = state
        return (left > 0) & jnp.any(at_bin != wanted)

    def one_bit(state):
        # At every pass: count(bin >= own) >= k > above, unless the group is done.
        left, own, at_bin, above = state
        pivot = own | (unsigned(1) << (left - unsigned(1)))
        digits = per_array(pivot.astype(jnp.uint8), arrays)
        counts = [count_true(b >= d) for b, d in zip(bins, digits, strict=True)]
        at_pivot = jnp.stack(counts)
        if joint:
            at_pivot = jnp.sum(at_pivot, keepdims=True, dtype=jnp.int32)
        active, enough = at_bin != wanted, at_pivot >= wanted
        up, down = active & enough, active & ~enough
        return (
            left - unsigned(1),
            jnp.where(up, pivot, own),
            jnp.where(up, at_pivot, at_bin),
            jnp.where(down, at_pivot, above),
        )

    search = (unsigned(8), jnp.zeros_like(first), span.at_low, span.above)
    _, own, at_bin, above = jax.lax.while_loop(bits_left, one_bit, search)
    low = first + (own << shift)
    high = low + inside
    rises, falls = (own > 0) & (low > span.low), (own < 255) & (high < span.high)
    return _Span(
        jnp.where(rises, low, span.low),
        jnp.where(falls, high, span.high),
        jnp.where(rises, at_bin, span.at_low),
        jnp.where(falls, above, span.above),
    )


def _bin_of(keys: jax.Array, first: jax.Array, shift: jax.Array) -> jax.Array:
    """In which bin keys lie, uint8."""
    last = keys.dtype.type(255)
    return jnp.where(keys < first, 0, jnp.minimum((keys - first) >> shift, last)).astype(jnp.uint8)


def _guess(arrays: Sequence[jax.Array], wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two keys for each array that its cut most likely lies between; for small ones, all keys."""
    low, high = zip(*map(_guess_one, arrays, wanted), strict=True)
    return jnp.stack(low), jnp.stack(high)


def _guess_one(array: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The keys in a sample whose ranks are eight standard deviations from the one that is wanted.

    They are that many because rows and columns differ, which makes samples worse than their size
    says. Where the sample ends before, the guess ends as far from its other end as the rounds after
    a whole first one would tell apart: in float32 2^24 keys, a factor of 4.
    """
    sample = ordered_keys(_grid(array)).reshape(-1)
    unsigned = sample.dtype.type
    lowest, highest = unsigned(0), ~unsigned(0)
    if sample.size < _SAMPLE // 2:
        return jnp.asarray(lowest), jnp.asarray(highest)
    below = (sample[None, :] < sample[:, None]).reshape(-1, GROUP, sample.size)
    rank = jnp.sum(jnp.sum(below, axis=1, dtype=jnp.int8), axis=0, dtype=jnp.float32)
    share = wanted.astype(jnp.float32) / array.size
    middle = share * sample.size
    margin = 8 * jnp.sqrt(middle * (1 - share)) + 4
    low = jnp.min(jnp.where(rank <= middle + margin, sample, highest))
    high = jnp.max(jnp.where(rank >= middle - margin, sample, lowest))
    wide = unsigned(1) << unsigned(8 * unsigned().itemsize - 8)
    open_low, open_high = middle + margin >= sample.size - 1, middle - margin <= 0
    return (
        jnp.where(open_low, jnp.where(high > wide, high - wide, lowest), low),
        jnp.where(open_high, jnp.where(low < highest - wide, low + wide, highest), high),
    )


def _grid(array: jax.Array) -> jax.Array:
    """About `_SAMPLE` entries: some rows, and of these some columns; nearby, where sharded."""
    rows, side = as_rows(array), math.isqrt(_SAMPLE)
    height, width = (math.gcd(n, side) for n in rows.shape)
    some = rows.reshape(height, -1, rows.shape[1])[:, 0]
    return some.reshape(height, width, -1)[:, :, 0]
