# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Radix select on order-preserving integer keys: 8 bits per round, from a sampled bracket.

A sample of about 1024 entries per array brackets its k-th largest key. A round sorts the keys into
256 bins across the bracket, one byte per entry, and finds the bin of the k-th largest by 8 passes,
one per bit: each counts the entries at or above a pivot. The bin is the bracket of the next round.
A bracket that misses costs one more round, never the result. The loops end as soon as every group
has a pivot with exactly k entries at or above it.

Counting replaces sorting for two reasons. On a CPU the exact cut of a 768 x 3072 matrix takes
0.05 s by bisection of the keys and 0.55-0.63 s by `jnp.sort` or `lax.top_k`. And on a sharded array
a pass is a local count and an all-reduce of one integer, where a sort gathers the array. All arrays
of a search share its loops, so the passes over 72 matrices are as many as over one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mpjax.pruning.topk.counting import GROUP, as_rows, count_true
from mpjax.pruning.topk.keys import ordered_keys

_SAMPLE = 1024  # entries per array that the first bracket is made from

T = TypeVar("T")


class Cut(NamedTuple):
    """Key of the k-th largest entry of each group, unless ``exact``; arrays of shape (groups,)."""

    key: jax.Array  # the k largest are at or above it
    above: jax.Array  # int32: entries strictly above it, where not exact
    exact: jax.Array  # bool: exactly k are at or above it


def group_sizes(arrays: Sequence[jax.Array], joint: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number of entries of every group: of each array, or of all if ``joint``."""
    sizes = np.array([a.size for a in arrays], dtype=np.int64)
    return sizes.sum(keepdims=True) if joint else sizes


def per_array(groups: T, arrays: Sequence[jax.Array]) -> list[T]:
    """Tree of (groups,) arrays as one tree of scalars for every array."""

    def at(i: int) -> T:
        def pick(g: jax.Array) -> jax.Array:
            return g[i % g.shape[0]]

        return jax.tree.map(pick, groups)

    return [at(i) for i in range(len(arrays))]


class _Span(NamedTuple):
    """Bracket of the cut of each group, both ends included; arrays of shape (groups,)."""

    low: jax.Array
    high: jax.Array
    at_low: jax.Array  # int32: entries at or above low, k or more
    above: jax.Array  # int32: entries above high, fewer than k


_Rounds = tuple[Any, _Span, tuple[jax.Array, jax.Array]]  # rounds left, span, bracket
_Bits = tuple[Any, jax.Array, jax.Array, jax.Array]  # bits left, bin, entries from it on and above


def find_cut(arrays: Sequence[jax.Array], wanted: jax.Array, joint: bool) -> Cut:
    """Cut of every group, by rounds of 256 bins.

    Args:
      arrays: float arrays of one dtype.
      wanted: k of every group, int32.
      joint: all arrays are one group.
    """
    unsigned: Any = jax.eval_shape(ordered_keys, arrays[0]).dtype.type
    lowest, highest = jnp.zeros(wanted.shape, unsigned), jnp.full(wanted.shape, ~unsigned(0))
    sizes = jnp.asarray(group_sizes(arrays, joint), jnp.int32)
    start = _Span(lowest, highest, sizes, jnp.zeros_like(wanted))
    # A round resolves 8 bits: 4 rounds for float32, 8 for float64. A bracket that misses costs one
    # more. Joint groups start from all keys: equal samples of arrays of different sizes are no
    # sample of the group.
    rounds: int = unsigned().itemsize + (0 if joint else 1)
    guess = (lowest, highest) if joint else _guess(arrays, wanted)

    def unfinished(state: _Rounds) -> jax.Array:
        left, span, _ = state
        return (left > 0) & jnp.any((span.at_low != wanted) & (span.low != span.high))

    def one_round(state: _Rounds) -> _Rounds:
        left, span, (first, last) = state
        span = _narrow(arrays, wanted, span, (first, last), joint)
        return left - 1, span, (span.low, span.high)

    _, span, _ = jax.lax.while_loop(unfinished, one_round, (rounds, start, guess))
    return Cut(span.low, span.above, span.at_low == wanted)


def _narrow(
    arrays: Sequence[jax.Array],
    wanted: jax.Array,
    span: _Span,
    bracket: tuple[jax.Array, jax.Array],
    joint: bool,
) -> _Span:
    """Part of ``span`` in one of 256 bins that divide the bracket (first key, last key).

    Keys below the bracket count to the lowest bin and keys above it to the highest, so that a bin
    at an end of a bracket that missed keeps the old end of the span.
    """
    first, last = bracket
    unsigned: Any = first.dtype.type
    bits = unsigned(8 * unsigned().itemsize)
    # 2^shift keys per bin, a power of two so that a shift finds the bin. At most 2^(bits − 8).
    shift = bits - jnp.minimum(jax.lax.clz(last - first), bits - unsigned(8)) - unsigned(8)
    inside = (unsigned(1) << shift) - unsigned(1)  # from the first key of a bin to its last
    # Moved down where the last key of the last bin would overflow.
    first = jnp.minimum(first, ~unsigned(0) - ((unsigned(255) << shift) + inside))
    starts, shifts = per_array(first, arrays), per_array(shift, arrays)
    # Without the barrier XLA moves the keys out of the loop and stores them, 4 bytes per entry.
    # Computing them from the arrays in every round is faster.
    arrays, starts = jax.lax.optimization_barrier((tuple(arrays), starts))
    bins = [
        _bin_of(ordered_keys(array), low, by)
        for array, low, by in zip(arrays, starts, shifts, strict=True)
    ]

    def bits_left(state: _Bits) -> jax.Array:
        left, _, at_bin, _ = state
        return (left > 0) & jnp.any(at_bin != wanted)

    def one_bit(state: _Bits) -> _Bits:
        # Invariant: count(bin >= own) >= k > above, unless the group is done.
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
    """Bin of every key, uint8: a pass over the bins reads a quarter of the bytes of float32."""
    last = keys.dtype.type(255)
    return jnp.where(keys < first, 0, jnp.minimum((keys - first) >> shift, last)).astype(jnp.uint8)


def _guess(arrays: Sequence[jax.Array], wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Bracket of the cut of each array from a sample; all keys for arrays too small for one."""
    brackets = [_guess_one(array, k) for array, k in zip(arrays, wanted, strict=True)]
    low, high = zip(*brackets, strict=True)
    return jnp.stack(low), jnp.stack(high)


def _guess_one(array: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys of the sample whose ranks are 8 standard deviations around the wanted rank."""
    sample = ordered_keys(_grid(array)).reshape(-1)
    unsigned: Any = sample.dtype.type
    lowest, highest = unsigned(0), ~unsigned(0)
    if sample.size < _SAMPLE // 2:
        return jnp.asarray(lowest), jnp.asarray(highest)
    # 1024² comparisons rank the sample without a sort; int8 sums of 16 rows as in `count_true`.
    below = (sample[None, :] < sample[:, None]).reshape(-1, GROUP, sample.size)
    rank = jnp.sum(jnp.sum(below, axis=1, dtype=jnp.int8), axis=0, dtype=jnp.float32)
    share = wanted.astype(jnp.float32) / array.size
    middle = share * sample.size
    # 8 instead of 3: rows and columns of a kernel differ, so a grid of 32 x 32 varies more than
    # 1024 independent draws.
    margin = 8 * jnp.sqrt(middle * (1 - share)) + 4
    low = jnp.min(jnp.where(rank <= middle + margin, sample, highest))
    high = jnp.max(jnp.where(rank >= middle - margin, sample, lowest))
    # A margin beyond an end of the sample leaves that side open. It then ends 2^(bits − 8) keys
    # from the other side, as far as the rounds after a full first one resolve: for float32 2^24
    # keys, a factor of 4 in value.
    wide = unsigned(1) << unsigned(8 * unsigned().itemsize - 8)
    open_low, open_high = middle + margin >= sample.size - 1, middle - margin <= 0
    return (
        jnp.where(open_low, jnp.where(high > wide, high - wide, lowest), low),
        jnp.where(open_high, jnp.where(low < highest - wide, low + wide, highest), high),
    )


def _grid(array: jax.Array) -> jax.Array:
    """About `_SAMPLE` entries: evenly spaced rows, and columns of these.

    Divisors of the axes as strides keep the slices on the shards of a sharded array.
    """
    rows, side = as_rows(array), math.isqrt(_SAMPLE)
    height, width = (math.gcd(n, side) for n in rows.shape)
    some = rows.reshape(height, -1, rows.shape[1])[:, 0]
    return some.reshape(height, width, -1)[:, :, 0]
