"""Exact top-k by counting: no sort, no gather.

Floats are read as unsigned integers in the same order, their keys. A small sample of each array
says between which keys its k-th largest most likely lies. A round then sorts the entries into 256
bins across these keys, a byte each, a quarter of the size; eight passes, each a count of the
entries at or above a pivot, find the bin; and the next round makes 256 bins of it. All arrays share
the loops, so on a sharded array a pass is a local count and one small all-reduce. Wrong guesses
cost a round. No pass is made after every group has a pivot with exactly k entries at or above it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_GROUP = 16  # rows counted together in int8, so at most 127
_SAMPLE = 1024  # entries that a first guess at the cut is made from


def ordered_keys(x: jax.Array) -> jax.Array:
    """Maps floats to unsigned integers of the same width in the same order, with -0 equal to +0.

    Args:
      x: array of float16, bfloat16, float32 or float64.

    Returns:
      uint32 for dtypes up to 32 bits, else uint64, same shape. Denormals keep their order; a NaN
      with a positive sign is above everything.

    >>> import jax.numpy as jnp
    >>> keys = ordered_keys(jnp.array([-1.0, -0.0, 0.0, 1e-45, 2.0]))
    >>> [int(k) - 2**31 for k in keys[1:4]]
    [0, 0, 1]
    >>> bool((keys[1:] >= keys[:-1]).all())
    True
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    unsigned = jnp.uint32 if x.dtype.itemsize == 4 else jnp.uint64
    bits, zero = jax.lax.bitcast_convert_type(x, unsigned), _key_of_zero(unsigned)
    return jnp.where(bits < zero, zero + bits, zero - (bits - zero))


def _from_keys(keys: jax.Array) -> jax.Array:
    """The inverse of :func:`ordered_keys` for float32 and float64."""
    zero = _key_of_zero(keys.dtype)
    bits = jnp.where(keys >= zero, keys - zero, zero + (zero - keys))
    return jax.lax.bitcast_convert_type(bits, f"float{8 * keys.dtype.itemsize}")


def _key_of_zero(unsigned: Any) -> Any:
    return np.dtype(unsigned).type(1 << (8 * np.dtype(unsigned).itemsize - 1))


def survivors(
    density: float | jax.Array,
    size: int,
    *,
    final: float | jax.Array | None = None,
    final_count: int | jax.Array | None = None,
) -> int | jax.Array:
    """``int(density * size)``, the number of entries a density keeps.

    A Python float gives the exact integer. A traced density is multiplied in its own precision; so
    that float32 training ends on exactly the count that was asked for, a traced value equal to
    ``final`` (rounded to its dtype) counts as the Python float ``final``. Where ``final`` is traced
    too, ``final_count`` must bring its exact count.

    >>> survivors(0.03, 3200), survivors(0.29, 100)
    (96, 28)
    >>> import jax.numpy as jnp
    >>> int(survivors(jnp.float32(0.29), 100)), int(survivors(jnp.float32(0.29), 100, final=0.29))
    (29, 28)
    """
    if isinstance(density, float | int):
        return int(density * size)
    count = jnp.floor(density * size).astype(jnp.int32)
    if final is None:
        return count
    exact = int(final * size) if final_count is None else final_count
    return jnp.where(density == jnp.asarray(final, density.dtype), exact, count)


def top_k_masks(
    arrays: Sequence[jax.Array], counts: Sequence[int | jax.Array], *, joint: bool = False
) -> list[jax.Array]:
    """Marks the k largest entries of every array, or of all arrays together.

    Args:
      arrays: float arrays of any shapes, one dtype.
      counts: how many entries to keep: one number per array, or a single one if ``joint``.
        Clipped to the number of entries there are.
      joint: one cut for all arrays together instead of one for each.

    Returns:
      Boolean masks of the shapes of ``arrays``. Among equal entries the lowest flat (C order)
      index wins; with ``joint`` the arrays count as if laid end to end.

    >>> import jax.numpy as jnp
    >>> [m] = top_k_masks([jnp.array([3.0, 1.0, 2.0, 2.0])], [2])
    >>> m.tolist()
    [True, False, True, False]
    >>> a, b = top_k_masks([jnp.array([5.0, 0.0]), jnp.array([4.0, 6.0])], [2], joint=True)
    >>> a.tolist(), b.tolist()
    ([True, False], [False, True])
    """
    wanted = _wanted(arrays, counts, joint)
    cut = _find_cut(arrays, wanted, joint)
    nowhere = jnp.zeros(len(arrays), jnp.int32)
    ends = jax.lax.cond(
        jnp.all(cut.exact),
        lambda: _Place(nowhere, nowhere),
        lambda: _tie_ends(arrays, cut, wanted, joint),
    )
    masks = []
    for array, own, end in zip(
        arrays, _per_array(cut, arrays), _per_array(ends, arrays), strict=True
    ):
        keys = ordered_keys(_as_rows(array))
        mask = (keys > own.key) | ((keys == own.key) & (own.exact | _before(keys.shape, end)))
        masks.append(mask.reshape(array.shape))
    return masks


def top_k_cuts(
    arrays: Sequence[jax.Array], counts: Sequence[int | jax.Array], *, joint: bool = False
) -> list[jax.Array]:
    """The value that the k largest entries of every array, or of all together, lie strictly above.

    Where the k-th and the next largest are equal, none of their equals lies above it: fewer than k
    entries do.

    Args:
      arrays, counts, joint: as in :func:`top_k_masks`.

    Returns:
      One scalar per array, float32 or wider; -inf where everything stays.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 2.0])
    >>> [int((x > top_k_cuts([x], [k])[0]).sum()) for k in (1, 2, 3, 4)]
    [1, 1, 3, 4]
    """
    wanted = _wanted(arrays, counts, joint)
    cut = _find_cut(arrays, wanted, joint)
    # Strictly above the key below a cut is at or above the cut.
    values = _from_keys(jnp.where(cut.exact, cut.key - 1, cut.key))
    values = jnp.where(wanted == _totals(arrays, joint), -jnp.inf, values)
    return _per_array(values, arrays)


def count_true(marks: jax.Array) -> jax.Array:
    """True entries of an array of any shape, a scalar int32; several times as fast as ``jnp.sum``.

    Rows are added up in small groups first: int8 lanes are four times as many as int32 lanes, and
    groups of 16 rows rarely straddle the shards of a sharded array.

    >>> int(count_true(jnp.array([[True, False], [True, True]])))
    3
    """
    rows = _as_rows(marks)
    groups = rows.reshape(-1, math.gcd(rows.shape[0], _GROUP), rows.shape[1])
    exact = jnp.float32 if marks.size < 2**24 else jnp.int32  # of the two, floats add up faster
    return jnp.sum(jnp.sum(groups, axis=1, dtype=jnp.int8), dtype=exact).astype(jnp.int32)


class _Cut(NamedTuple):
    """Where the k largest of each group end; arrays of shape (groups,)."""

    key: jax.Array  # the k largest are at or above it
    above: jax.Array  # int32: entries strictly above it, where not exact
    exact: jax.Array  # bool: exactly k are at or above it


class _Place(NamedTuple):
    """A position in an array seen as rows: everything in earlier rows is before it."""

    row: jax.Array
    column: jax.Array


def _as_rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)


def _totals(arrays: Sequence[jax.Array], joint: bool) -> np.ndarray:
    """Entries of every group."""
    sizes = np.array([a.size for a in arrays], dtype=np.int64)
    return sizes.sum(keepdims=True) if joint else sizes


def _wanted(arrays: Sequence[jax.Array], counts: Sequence[Any], joint: bool) -> jax.Array:
    """k of every group, int32."""
    totals = _totals(arrays, joint)
    if len(counts) != len(totals):
        raise ValueError(f"{len(totals)} groups of arrays but {len(counts)} counts")
    if totals.max(initial=0) >= 2**31:
        raise ValueError(f"{totals.max()} entries in one selection; at most 2**31 - 1")
    k = jnp.stack([jnp.asarray(count, jnp.int32) for count in counts])
    return jnp.clip(k, 0, totals.astype(np.int32))


def _per_array(groups: Any, arrays: Sequence[jax.Array]) -> list[Any]:
    """A tree of (groups,) arrays as one tree of scalars for every array."""
    return [jax.tree.map(lambda g, i=i: g[i % g.shape[0]], groups) for i in range(len(arrays))]


class _Span(NamedTuple):
    """Keys between which the cut of each group lies, both included; arrays of shape (groups,)."""

    low: jax.Array
    high: jax.Array
    at_low: jax.Array  # int32: entries at or above low, k or more
    above: jax.Array  # int32: entries above high, fewer than k


def _find_cut(arrays: Sequence[jax.Array], wanted: jax.Array, joint: bool) -> _Cut:
    """The cut of every group: 256 bins across the keys it may lie between, then across a bin."""
    unsigned = jax.eval_shape(ordered_keys, arrays[0]).dtype.type
    lowest, highest = jnp.zeros(wanted.shape, unsigned), jnp.full(wanted.shape, ~unsigned(0))
    totals = jnp.asarray(_totals(arrays, joint), jnp.int32)
    start = _Span(lowest, highest, totals, jnp.zeros_like(wanted))
    # A first guess that is wrong costs a round; after it 8 bits are known with every one.
    rounds = unsigned().itemsize + 1
    guess = (lowest, highest) if joint else _guess(arrays, wanted)

    def unfinished(state):
        left, span, _ = state
        return (left > 0) & jnp.any((span.at_low != wanted) & (span.low != span.high))

    def one_round(state):
        left, span, (first, last) = state
        span = _narrow(arrays, wanted, span, first, last, joint)
        return left - 1, span, (span.low, span.high)

    _, span, _ = jax.lax.while_loop(unfinished, one_round, (rounds, start, guess))
    return _Cut(span.low, span.above, span.at_low == wanted)


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
    starts, shifts = _per_array(first, arrays), _per_array(shift, arrays)
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
        digits = _per_array(pivot.astype(jnp.uint8), arrays)
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
    says. Where the sample ends before, the guess ends 2^24 keys from the other (float32: a factor
    of 4), as many as three rounds tell apart.
    """
    sample = ordered_keys(_grid(array)).reshape(-1)
    unsigned = sample.dtype.type
    lowest, highest = unsigned(0), ~unsigned(0)
    if sample.size < _SAMPLE // 2:
        return jnp.asarray(lowest), jnp.asarray(highest)
    below = (sample[None, :] < sample[:, None]).reshape(-1, _GROUP, sample.size)
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
    rows, side = _as_rows(array), math.isqrt(_SAMPLE)
    height, width = (math.gcd(n, side) for n in rows.shape)
    some = rows.reshape(height, -1, rows.shape[1])[:, 0]
    return some.reshape(height, width, -1)[:, :, 0]


def _tie_ends(arrays: Sequence[jax.Array], cut: _Cut, wanted: jax.Array, joint: bool) -> _Place:
    """Up to where in each array the entries equal to the cut stay, so that exactly k do.

    Lowest index first: whole rows, then the start of one. What is left of each array, a number per
    row and a mark per column, is looked at together, which makes a much smaller program. Arrays are
    not: those of one shape may lie on the devices in different ways.
    """
    keys = _per_array(cut.key, arrays)
    ties = [ordered_keys(_as_rows(a)) == key for a, key in zip(arrays, keys, strict=True)]
    in_rows = [jnp.sum(tied, axis=1, dtype=jnp.int32) for tied in ties]
    needed = jnp.broadcast_to(wanted - cut.above, len(arrays))
    if joint:
        in_arrays = jnp.stack([jnp.sum(rows, dtype=jnp.int32) for rows in in_rows])
        needed = jnp.clip(needed - (jnp.cumsum(in_arrays) - in_arrays), 0, in_arrays)
    rows, rest = _together(_tie_row, in_rows, needed)
    last = [
        jnp.any(tied & (jax.lax.broadcasted_iota(jnp.int32, tied.shape, 0) == row), axis=0)
        for tied, row in zip(ties, rows, strict=True)
    ]
    return _Place(rows, _together(_tie_column, last, rest))


def _tie_row(in_rows: jax.Array, needed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The row in which the last of ``needed`` ties lies, and how many of that row's are needed."""
    so_far = jnp.cumsum(in_rows)
    row = jnp.sum(so_far < needed, dtype=jnp.int32)
    return row, needed - jnp.sum(jnp.where(so_far < needed, in_rows, 0), dtype=jnp.int32)


def _tie_column(ties: jax.Array, needed: jax.Array) -> jax.Array:
    """The column before which ``needed`` of a row's ties lie."""
    so_far = jnp.cumsum(ties.astype(jnp.int32))
    return jnp.sum(so_far < needed, dtype=jnp.int32) + (needed > 0).astype(jnp.int32)


def _together(function: Any, vectors: Sequence[jax.Array], numbers: jax.Array) -> Any:
    """``function(vector, number)`` of each pair, one call for all vectors of one length."""
    members = _by_shape(vectors)
    order = np.argsort(np.concatenate(members))
    parts = [
        jax.vmap(function)(jnp.stack([vectors[i] for i in m]), numbers[np.array(m)])
        for m in members
    ]
    return jax.tree.map(lambda *found: jnp.concatenate(found)[order], *parts)


def _by_shape(arrays: Sequence[jax.Array]) -> list[list[int]]:
    """Positions of the arrays of each shape."""
    positions: dict[tuple[int, ...], list[int]] = {}
    for i, array in enumerate(arrays):
        positions.setdefault(array.shape, []).append(i)
    return list(positions.values())


def _before(shape: tuple[int, ...], place: _Place) -> jax.Array:
    row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    return (row < place.row) | ((row == place.row) & (column < place.column))
