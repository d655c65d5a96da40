# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Numbers of scores kept per array for a budget in weights, where scores cover unequal numbers.

A head of BERT covers 196,608 weights and a hidden unit 1,536. One cut over all scores decides about
the coarse ones. The finest, which hit a number best, take what is left of the budget. Every pass is
a count per array, so a sharded array costs an all-reduce of one integer and is never gathered.
"""

import functools
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from mpjax.pruning.explicit import inferred
from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.topk.keys import ordered_keys


def budget_counts(
    scores: Sequence[Float[Array, "..."]], covers: Sequence[int], budget: int | Int32[Array, ""]
) -> list[Int32[Array, ""]]:
    """Scores kept of every array under one cut, so that the kept weights come to ``budget``.

    They differ from it by at most half of the weights of a finest score, unless all of the finest
    are kept or dropped. Among equal scores at the cut of the finest, those of the first arrays win.

    Args:
      scores: float arrays of one dtype; the largest are kept.
      covers: weights of one score, by array.
      budget: weights to keep, of Σ covers·size.

    Returns:
      One count per array, for `top_k_masks`.

    Raises:
      ValueError: more weights than an int32 counts.

    >>> heads, units = jnp.array([3.0, 1.0]), jnp.array([4.0, 2.0, 0.5])
    >>> [int(k) for k in budget_counts([heads, units], [10, 1], 12)]
    [1, 2]
    """
    sizes = np.array([s.size for s in scores], np.int64)
    total = int((sizes * np.asarray(covers)).sum())
    if total >= 2**31:
        raise ValueError(f"{total} weights under one budget; at most 2**31 - 1")
    finest = min(covers)
    fine = [i for i, c in enumerate(covers) if c == finest]
    coarse = [i for i, c in enumerate(covers) if c != finest]
    left = jnp.clip(jnp.asarray(budget, jnp.int32), 0, total)
    counts: list[Any] = [None] * len(scores)
    if coarse:
        above, _ = inferred(_cut)(list(scores), tuple(covers), left)
        for i in coarse:
            counts[i] = above[i]
            left = left - covers[i] * above[i]
    number = jnp.clip((left + finest // 2) // finest, 0, int(sizes[fine].sum()))
    above, at_cut = inferred(_cut)([scores[i] for i in fine], (1,) * len(fine), number)
    ties = at_cut - above
    before = jnp.cumsum(ties) - ties
    rest = number - jnp.sum(above, dtype=jnp.int32)
    for j, i in enumerate(fine):
        counts[i] = above[j] + jnp.clip(rest - before[j], 0, ties[j])
    return counts


@functools.partial(jax.jit, static_argnums=1, inline=True)  # as `masks._masks`
def _cut(
    scores: Sequence[jax.Array], covers: tuple[int, ...], budget: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Counts per array above the lowest cut that fits the budget, and with the scores at it."""
    keys = [ordered_keys(s) for s in scores]
    unsigned: Any = keys[0].dtype.type
    bits = 8 * unsigned().itemsize
    each = jnp.asarray(covers, jnp.int32)

    def counts(key: jax.Array) -> jax.Array:
        return jnp.stack([count_true(k >= key) for k in keys])

    def one_bit(i: Any, low: jax.Array) -> jax.Array:
        # Invariant: the weights at or above `low` are more than the budget, unless it is still 0.
        pivot = low | (unsigned(1) << (unsigned(bits - 1) - jnp.asarray(i, unsigned)))
        return jnp.where(jnp.sum(counts(pivot) * each, dtype=jnp.int32) > budget, pivot, low)

    low = cast(jax.Array, jax.lax.fori_loop(0, bits, one_bit, jnp.zeros((), unsigned)))
    here, above = counts(low), counts(low + jnp.ones_like(low))
    fits = jnp.sum(here * each, dtype=jnp.int32) <= budget  # at key 0 only: everything is kept
    return jnp.where(fits, here, above), here
