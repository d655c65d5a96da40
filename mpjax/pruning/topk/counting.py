# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Counts of marked entries on the device."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, Shaped

from mpjax.pruning.explicit import inferred

GROUP = 16  # rows added up in int8: at most 127 would fit


def as_rows(x: Shaped[Array, "..."]) -> Shaped[Array, "rows columns"]:
    """Array of any shape as a matrix: the last axis stays, a vector becomes a column."""
    return x.reshape(*((math.prod(x.shape[:-1]), x.shape[-1]) if x.ndim > 1 else (x.size, 1)))


def count_true(marks: Bool[Array, "..."]) -> Int32[Array, ""]:
    """Number of True entries; several times as fast as ``jnp.sum``.

    >>> int(count_true(jnp.array([[True, False], [True, True]])))
    3
    """
    return inferred(_count_true)(marks)


def _count_true(marks: jax.Array) -> jax.Array:
    rows = as_rows(marks)
    # Groups of rows are added up in int8, of which a vector register holds four times as many as
    # of int32. 16 divides the shards of most sharded axes, so that groups rarely straddle two.
    group = math.gcd(rows.shape[0], GROUP)
    groups = rows.reshape(rows.shape[0] // group, group, rows.shape[1])
    # Then in float32, which adds up faster than int32 and is exact below 2^24.
    exact = jnp.float32 if marks.size < 2**24 else jnp.int32
    return jnp.sum(jnp.sum(groups, axis=1, dtype=jnp.int8), dtype=exact).astype(jnp.int32)
