"""Exact top-k masks by counting: no sort, no gather.

Floats are read as integers in the same order, and the k-th largest is found by bisecting on that
integer: every pass counts the entries at or above a pivot. All matrices share one loop, so on a
sharded array a pass is a local count and one small all-reduce. The number of passes is at most the
width of the dtype (32 or 64) and about 25 on real weights, because a pivot that leaves exactly k
entries above it ends the search for that matrix.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

_GROUP = 16  # rows counted together in int8, so at most 127


def ordered_keys(x: jax.Array) -> jax.Array:
    """Maps floats to signed integers of the same width in the same order, with -0 equal to +0.

    Args:
      x: array of float16, bfloat16, float32 or float64.

    Returns:
      int32 for dtypes up to 32 bits, else int64, same shape. Denormals keep their order; a NaN with
      a positive sign is above everything.

    >>> import jax.numpy as jnp
    >>> keys = ordered_keys(jnp.array([-1.0, -0.0, 0.0, 1e-45, 2.0]))
    >>> [int(k) for k in keys[1:4]]
    [0, 0, 1]
    >>> bool((keys[1:] >= keys[:-1]).all())
    True
    """
    if x.dtype.itemsize < 4:
        x = x.astype(jnp.float32)
    integer = jnp.int32 if x.dtype.itemsize == 4 else jnp.int64
    bits = jax.lax.bitcast_convert_type(x, integer)
    return jnp.where(bits < 0, jnp.iinfo(integer).min - bits, bits)


def survivors(
    density: float | jax.Array, size: int, *, final: float | None = None
) -> int | jax.Array:
    """``int(density * size)``, the number of entries a density keeps.

    A Python float gives the exact integer. A traced density is multiplied in its own precision; so
    that float32 training ends on exactly the count that was asked for, a traced value equal to
    ``final`` (rounded to its dtype) counts as the Python float ``final``.

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
    return jnp.where(density == jnp.asarray(final, density.dtype), int(final * size), count)


def top_k_masks(
    arrays: Sequence[jax.Array],
    counts: Sequence[int | jax.Array],
    *,
    joint: bool = False,
    drop_ties: bool = False,
) -> list[jax.Array]:
    """Marks the k largest entries of every array, or of all arrays together.

    Args:
      arrays: float arrays of any shapes, one dtype.
      counts: how many entries to keep: one number per array, or a single one if ``joint``.
        Clipped to the number of entries there are.
      joint: one cut for all arrays together instead of one for each.
      drop_ties: if the cut falls between equal entries, keep none of them (fewer than k survive)
        rather than those of lowest index (exactly k survive).

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
    sizes = np.array([a.size for a in arrays], dtype=np.int64)
    totals = np.array([sizes.sum()]) if joint else sizes
    if len(counts) != len(totals):
        raise ValueError(f"{len(totals)} groups of arrays but {len(counts)} counts")
    if totals.max(initial=0) >= 2**31:
        raise ValueError(f"{totals.max()} entries in one selection; at most 2**31 - 1")
    size = jnp.asarray(totals, jnp.int32)
    wanted = jnp.clip(jnp.stack([jnp.asarray(c, jnp.int32) for c in counts]), 0, size)

    members = _by_shape(arrays)  # arrays of one shape are counted together: fewer, larger passes
    keys = [jnp.stack([ordered_keys(arrays[i]) for i in m]) for m in members]
    # Where each array of a stack finds its cut: its own, or the only one.
    group = [np.zeros(len(m), np.int32) if joint else np.array(m, np.int32) for m in members]
    order = np.argsort(np.concatenate(members))

    def spread(values: jax.Array) -> list[jax.Array]:
        """A value per group as arrays that broadcast against the stacks."""
        return [
            values.at[g].get(mode="promise_in_bounds").reshape(-1, *(1,) * (k.ndim - 1))
            for g, k in zip(group, keys, strict=True)
        ]

    def tally(marks: Sequence[jax.Array]) -> jax.Array:
        per_array = jnp.concatenate([_count_each(m) for m in marks])
        if joint:
            return jnp.sum(per_array, keepdims=True, dtype=jnp.int32)
        return per_array.at[order].get(mode="promise_in_bounds")

    cut, above, exact = _bisect_keys(keys, wanted, size, spread, tally)
    if drop_ties:
        cut = jnp.where(exact, cut, cut + 1)
        stacks = [k >= c for k, c in zip(keys, spread(cut), strict=True)]
    else:
        offsets = np.cumsum(sizes) - sizes if joint else np.zeros_like(sizes)
        index = [
            jax.lax.iota(jnp.int32, k[0].size).reshape(1, *k.shape[1:])
            + jnp.asarray(offsets[m], jnp.int32).reshape(-1, *(1,) * (k.ndim - 1))
            for k, m in zip(keys, members, strict=True)
        ]
        end = _bisect_ties(keys, index, cut, wanted - above, exact, size, spread, tally)
        stacks = [
            (k > c) | ((k == c) & (i < e))
            for k, i, c, e in zip(keys, index, spread(cut), spread(end), strict=True)
        ]
    masks = [mask for stack in stacks for mask in stack]
    return [masks[i] for i in order]


def count_true(marks: jax.Array) -> jax.Array:
    """True entries of an array of any shape, a scalar int32; several times as fast as ``jnp.sum``.

    >>> int(count_true(jnp.array([[True, False], [True, True]])))
    3
    """
    return _count_each(marks[None])[0]


def _by_shape(arrays: Sequence[jax.Array]) -> list[list[int]]:
    """Positions of the arrays of each shape."""
    positions: dict[tuple[int, ...], list[int]] = {}
    for i, array in enumerate(arrays):
        positions.setdefault(array.shape, []).append(i)
    return list(positions.values())


def _count_each(marks: jax.Array) -> jax.Array:
    """True entries of every array of a stack, int32.

    Rows are added up in small groups first: int8 lanes are four times as many as int32 lanes, and
    groups of 16 rows rarely straddle the shards of a sharded array.
    """
    rows = marks.reshape(marks.shape[0], -1, marks.shape[-1] if marks.ndim > 1 else 1)
    height = math.gcd(rows.shape[1], _GROUP)
    groups = rows.reshape(rows.shape[0], -1, height, rows.shape[2])
    return jnp.sum(jnp.sum(groups, axis=2, dtype=jnp.int8), axis=(1, 2), dtype=jnp.int32)


def _bisect_keys(keys, wanted, size, spread, tally):
    """Per group: the cut, how many keys lie above it, and whether exactly k lie at or above it."""
    info = jnp.iinfo(keys[0].dtype)
    low = jnp.full(wanted.shape, info.min, keys[0].dtype)
    high = jnp.full(wanted.shape, info.max, keys[0].dtype)

    def open_groups(low, high, at_low):
        return (at_low != wanted) & (high - 1 > low)

    def unfinished(state):
        low, high, at_low, _ = state
        return jnp.any(open_groups(low, high, at_low))

    def narrow(state):
        # count(key >= low) >= k > count(key >= high), at every pass.
        low, high, at_low, at_high = state
        pivot = (low & high) + ((low ^ high) >> 1)  # the mean, without overflow
        at_pivot = tally([k >= p for k, p in zip(keys, spread(pivot), strict=True)])
        active, enough = open_groups(low, high, at_low), at_pivot >= wanted
        up, down = active & enough, active & ~enough
        return (
            jnp.where(up, pivot, low),
            jnp.where(down, pivot, high),
            jnp.where(up, at_pivot, at_low),
            jnp.where(down, at_pivot, at_high),
        )

    start = (low, high, size, jnp.zeros_like(wanted))
    low, _, at_low, at_high = jax.lax.while_loop(unfinished, narrow, start)
    return low, at_high, at_low == wanted


def _bisect_ties(keys, index, cut, needed, exact, size, spread, tally):
    """Per group: the smallest index bound below which ``needed`` keys equal the cut."""

    def unfinished(state):
        low, high = state
        return jnp.any(low < high)

    def narrow(state):
        low, high = state
        middle = low + (high - low) // 2
        tied = tally(
            [
                (k == c) & (i < m)
                for k, i, c, m in zip(keys, index, spread(cut), spread(middle), strict=True)
            ]
        )
        enough = tied >= needed
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    low, _ = jax.lax.while_loop(unfinished, narrow, (jnp.where(exact, size, 0), size))
    return low
