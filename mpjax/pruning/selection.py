"""Exact top-k by counting: no sort, no gather.

Floats are read as unsigned integers in the same order, and the k-th largest is found bit by bit:
every pass counts the entries at or above a pivot. The passes run over one byte of the integers at
a time, which is extracted once and a quarter of the size. All arrays share one loop, so on a
sharded array a pass is a local count and one small all-reduce. There are at most as many passes as
the dtype has bits, and none after every group has a pivot with exactly k entries at or above it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_GROUP = 16  # rows counted together in int8, so at most 127


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
    return jnp.sum(jnp.sum(groups, axis=1, dtype=jnp.int8), dtype=jnp.int32)


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


def _find_cut(arrays: Sequence[jax.Array], wanted: jax.Array, joint: bool) -> _Cut:
    """The cut of every group: byte by byte from the highest, in each byte bit by bit."""
    unsigned = jax.eval_shape(ordered_keys, arrays[0]).dtype.type
    start = (
        jnp.asarray(unsigned().itemsize, unsigned),
        jnp.zeros(wanted.shape, unsigned),
        jnp.asarray(_totals(arrays, joint), jnp.int32),
        jnp.zeros_like(wanted),
    )

    def unfinished(state):
        left, _, at_low, _ = state
        return (left > 0) & jnp.any(at_low != wanted)

    def one_byte(state):
        left, *found = state
        shift = unsigned(8) * (left - unsigned(1))
        planes = [
            _byte_of(ordered_keys(array), low, shift)
            for array, low in zip(arrays, _per_array(found[0], arrays), strict=True)
        ]

        def bits_left(state):
            bit, _, at_low, _ = state
            return (bit > 0) & jnp.any(at_low != wanted)

        def one_bit(state):
            # At every pass: count(key >= low) >= k > above, unless the group is done.
            bit, low, at_low, above = state
            pivot = low | (unsigned(1) << (shift + bit - unsigned(1)))
            digits = _per_array((pivot >> shift).astype(jnp.uint8), arrays)
            counts = [count_true(p >= d) for p, d in zip(planes, digits, strict=True)]
            at_pivot = jnp.stack(counts)
            if joint:
                at_pivot = jnp.sum(at_pivot, keepdims=True, dtype=jnp.int32)
            active, enough = at_low != wanted, at_pivot >= wanted
            up, down = active & enough, active & ~enough
            return (
                bit - unsigned(1),
                jnp.where(up, pivot, low),
                jnp.where(up, at_pivot, at_low),
                jnp.where(down, at_pivot, above),
            )

        _, *found = jax.lax.while_loop(bits_left, one_bit, (jnp.asarray(unsigned(8)), *found))
        return left - unsigned(1), *found

    _, key, at_low, above = jax.lax.while_loop(unfinished, one_byte, start)
    return _Cut(key, above, at_low == wanted)


def _byte_of(keys: jax.Array, low: jax.Array, shift: jax.Array) -> jax.Array:
    """One byte of the keys, uint8; 0 under and 255 over the keys that share ``low``'s higher bytes.

    Compared with a pivot's byte, which is at least 1, it gives what the whole keys would.
    """
    byte = keys.dtype.type(255)
    prefix, own = ((x >> shift) >> keys.dtype.type(8) for x in (keys, low))
    digit = (keys >> shift) & byte
    return jnp.where(prefix == own, digit, jnp.where(prefix > own, byte, 0)).astype(jnp.uint8)


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
