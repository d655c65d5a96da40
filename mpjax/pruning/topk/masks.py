# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Masks of the exact k largest entries, ties by index; the cut comes from `search`."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mpjax.pruning.explicit import inferred
from mpjax.pruning.topk.counting import GROUP, as_rows
from mpjax.pruning.topk.keys import from_keys, ordered_keys
from mpjax.pruning.topk.search import Cut, find_cut, group_sizes, per_array


def top_k_masks(
    arrays: Sequence[Float[Array, "..."]], counts: Sequence[int | jax.Array], *, joint: bool = False
) -> list[Bool[Array, "..."]]:
    """Marks the k largest entries of every array, or of all arrays together.

    Args:
      arrays: float arrays of any shapes, one dtype. One without entries has an empty mask.
      counts: k per array, or a single k if ``joint``; clipped to the number of entries.
      joint: one cut for all arrays together instead of one per array.

    Returns:
      Masks of the shapes of ``arrays``. Among equal entries the lowest flat (C order) index wins;
      with ``joint`` the arrays count as if laid end to end.

    >>> import jax.numpy as jnp
    >>> [m] = top_k_masks([jnp.array([3.0, 1.0, 2.0, 2.0])], [2])
    >>> m.tolist()
    [True, False, True, False]
    >>> a, b = top_k_masks([jnp.array([5.0, 0.0]), jnp.array([4.0, 6.0])], [2], joint=True)
    >>> a.tolist(), b.tolist()
    ([True, False], [False, True])
    """
    return inferred(_masks, list(arrays))(list(arrays), list(counts), joint)


# Outside of `jax.jit` a loop would be compiled at every call. Inside, `inline` leaves no trace.
@functools.partial(jax.jit, static_argnums=2, inline=True)
def _masks(arrays: list[jax.Array], counts: list[Any], joint: bool) -> list[jax.Array]:
    filled, counts = _filled(arrays, counts, joint)
    masks = iter(_each_or_all(_top_k_masks, filled, counts, joint) if filled else [])
    return [next(masks) if array.size else jnp.zeros(array.shape, bool) for array in arrays]


def _top_k_masks(arrays: list[jax.Array], counts: list[Any], joint: bool) -> list[jax.Array]:
    wanted = _wanted(arrays, counts, joint)
    cut = find_cut(arrays, wanted, joint)
    nowhere = jnp.zeros(len(arrays), jnp.int32)

    def no_ties() -> _Place:
        return _Place(nowhere, nowhere)

    def ties() -> _Place:
        return _tie_ends(arrays, cut, wanted, joint)

    # Ties at the cut: all entries of constant scores, and a few of many million float32 ones.
    ends = cast(_Place, jax.lax.cond(jnp.all(cut.exact), no_ties, ties))
    masks: list[jax.Array] = []
    for array, own, end in zip(
        arrays, per_array(cut, arrays), per_array(ends, arrays), strict=True
    ):
        keys = ordered_keys(as_rows(array))
        mask = (keys > own.key) | ((keys == own.key) & (own.exact | _before(keys.shape, end)))
        masks.append(mask.reshape(array.shape))
    return masks


def top_k_cuts(
    arrays: Sequence[Float[Array, "..."]], counts: Sequence[int | jax.Array], *, joint: bool = False
) -> list[Float[Array, ""]]:
    """Cut just below the k largest entries of every array, or of all arrays together.

    The k largest entries are strictly above it. If the k-th and the next are equal, the cut is
    their value and fewer than k entries are above.

    Args:
      arrays, counts, joint: as in :func:`top_k_masks`.

    Returns:
      One scalar per array, float32 or wider; -inf where all entries are kept, or there are none.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 2.0])
    >>> [int((x > top_k_cuts([x], [k])[0]).sum()) for k in (1, 2, 3, 4)]
    [1, 1, 3, 4]
    """
    return inferred(_cuts)(list(arrays), list(counts), joint)


@functools.partial(jax.jit, static_argnums=2, inline=True)  # as _masks
def _cuts(arrays: list[jax.Array], counts: list[Any], joint: bool) -> list[jax.Array]:
    filled, counts = _filled(arrays, counts, joint)
    cuts = iter(_each_or_all(_top_k_cuts, filled, counts, joint) if filled else [])
    return [next(cuts) if array.size else jnp.array(-jnp.inf, jnp.float32) for array in arrays]


def _top_k_cuts(arrays: list[jax.Array], counts: list[Any], joint: bool) -> list[jax.Array]:
    wanted = _wanted(arrays, counts, joint)
    cut = find_cut(arrays, wanted, joint)
    # An exact cut has k entries at or above its key, which are those strictly above the key before.
    values = from_keys(jnp.where(cut.exact, cut.key - 1, cut.key))
    values = jnp.where(wanted == group_sizes(arrays, joint), -jnp.inf, values)
    return per_array(values, arrays)


def _filled(
    arrays: list[jax.Array], counts: list[Any], joint: bool
) -> tuple[list[jax.Array], list[Any]]:
    """Arrays that have entries, and their counts."""
    groups = len(group_sizes(arrays, joint))
    if len(counts) != groups:
        raise ValueError(f"{groups} groups of arrays but {len(counts)} counts")
    kept = counts if joint else [k for array, k in zip(arrays, counts, strict=True) if array.size]
    return [array for array in arrays if array.size], kept


def _each_or_all(
    function: Callable[..., list[jax.Array]],
    arrays: list[jax.Array],
    counts: list[Any],
    joint: bool,
) -> list[jax.Array]:
    """``function(arrays, counts, joint)``, on a single CPU device of each array alone.

    There the bins of a matrix stay in the cache between its passes, a matrix that is done takes no
    part in further rounds, and ties are looked for in matrices that have them. Elsewhere a pass is
    an all-reduce or a kernel launch, and all arrays share it.
    """

    @jax.jit  # traced once per shape
    def one(array: jax.Array, count: Any) -> jax.Array:
        return function([array], [count], False)[0]

    def each(arrays: list[jax.Array], counts: list[Any]) -> list[jax.Array]:
        return [one(array, count) for array, count in zip(arrays, counts, strict=True)]

    def together(arrays: list[jax.Array], counts: list[Any]) -> list[jax.Array]:
        return function(arrays, counts, joint)

    if joint or len(arrays) == 1 or jax.device_count() > 1:
        return together(arrays, counts)
    return cast(
        list[jax.Array],
        jax.lax.platform_dependent(arrays, counts, cpu=each, default=together),
    )


class _Place(NamedTuple):
    """Position in an array seen as rows, in C order."""

    row: jax.Array
    column: jax.Array


def _wanted(arrays: Sequence[jax.Array], counts: Sequence[Any], joint: bool) -> jax.Array:
    """k of every group, int32."""
    totals = group_sizes(arrays, joint)
    if totals.max(initial=0) >= 2**31:
        raise ValueError(f"{totals.max()} entries in one selection; at most 2**31 - 1")
    k = jnp.stack([jnp.asarray(count, jnp.int32) for count in counts])
    return jnp.clip(k, 0, totals.astype(np.int32))


def _tie_ends(arrays: Sequence[jax.Array], cut: Cut, wanted: jax.Array, joint: bool) -> _Place:
    """First position of each array at which entries equal to the cut are no longer kept.

    Ties are kept in C order until k entries are: whole blocks of rows, whole rows of the next
    block, then the start of one row.
    """
    keys = per_array(cut.key, arrays)
    ties = [_blocks(ordered_keys(as_rows(a)) == key) for a, key in zip(arrays, keys, strict=True)]
    # Across rows XLA:CPU adds up whole vectors, along a row single entries.
    in_blocks = [jnp.sum(jnp.sum(t, 1, dtype=jnp.int8), 1, dtype=jnp.int32) for t in ties]
    needed = jnp.broadcast_to(wanted - cut.above, len(arrays))
    if joint:
        in_arrays = jnp.stack([jnp.sum(blocks, dtype=jnp.int32) for blocks in in_blocks])
        needed = jnp.clip(needed - (jnp.cumsum(in_arrays) - in_arrays), 0, in_arrays)
    # Vectors of one length (counts per row, marks per column) are stacked: one program per length,
    # 2 for the 72 matrices of BERT-base. Arrays are not stacked: two of one shape may be sharded
    # differently, and a stack would move one of them.
    blocks, needed = _stacked(_tie_row, in_blocks, needed)
    ties = [_pick(t, block) for t, block in zip(ties, blocks, strict=True)]
    in_rows = [jnp.sum(tied, axis=1, dtype=jnp.int32) for tied in ties]
    rows, needed = _stacked(_tie_row, in_rows, needed)
    last = [_pick(tied, row) for tied, row in zip(ties, rows, strict=True)]
    heights = jnp.array([tied.shape[0] for tied in ties], jnp.int32)
    return _Place(blocks * heights + rows, _stacked(_tie_column, last, needed))


def _blocks(marks: jax.Array) -> jax.Array:
    """Matrix as blocks of rows: (blocks, rows, columns).

    Of one row with several devices, between which marks of a block travel.
    """
    rows = math.gcd(marks.shape[0], GROUP) if jax.device_count() == 1 else 1
    return marks.reshape(-1, rows, marks.shape[1])


def _pick(marks: jax.Array, index: jax.Array) -> jax.Array:
    """``marks[index]`` as a sum: an index into a sharded axis would gather it."""
    own = jax.lax.broadcasted_iota(jnp.int32, marks.shape, 0) == index
    return jnp.sum(marks & own, axis=0, dtype=jnp.int8) > 0


def _tie_row(in_rows: jax.Array, needed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Row (or block) of the last kept tie, and the number of ties kept in it."""
    so_far = jnp.cumsum(in_rows)
    row = jnp.sum(so_far < needed, dtype=jnp.int32)
    return row, needed - jnp.sum(jnp.where(so_far < needed, in_rows, 0), dtype=jnp.int32)


def _tie_column(ties: jax.Array, needed: jax.Array) -> jax.Array:
    """Column after the last kept tie of a row; 0 if none is kept."""
    so_far = jnp.cumsum(ties.astype(jnp.int32))
    return jnp.sum(so_far < needed, dtype=jnp.int32) + (needed > 0).astype(jnp.int32)


def _stacked(
    function: Callable[[jax.Array, jax.Array], Any],
    vectors: Sequence[jax.Array],
    numbers: jax.Array,
) -> Any:
    """``function(vector, number)`` of each pair, one `jax.vmap` per length of vectors."""
    members = _by_shape(vectors)
    order = np.argsort(np.concatenate(members))
    parts = [
        jax.vmap(function)(jnp.stack([vectors[i] for i in m]), numbers[np.array(m)])
        for m in members
    ]

    def in_order(*found: jax.Array) -> jax.Array:
        return jnp.concatenate(found)[order]

    return jax.tree.map(in_order, *parts)


def _by_shape(arrays: Sequence[jax.Array]) -> list[list[int]]:
    """Positions of the arrays of each shape."""
    positions: dict[tuple[int, ...], list[int]] = {}
    for i, array in enumerate(arrays):
        positions.setdefault(array.shape, []).append(i)
    return list(positions.values())


def _before(shape: tuple[int, ...], place: _Place) -> jax.Array:
    """Marks the entries of a matrix before a position."""
    row, column = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    return (row < place.row) | ((row == place.row) & (column < place.column))
