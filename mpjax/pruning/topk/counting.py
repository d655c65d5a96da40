"""Counting marked entries on the device."""

import math

import jax
import jax.numpy as jnp

GROUP = 16  # rows counted together in int8, so at most 127


def as_rows(x: jax.Array) -> jax.Array:
    """An array of any shape as a matrix; the last axis stays, a vector becomes a column."""
    return x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)


def count_true(marks: jax.Array) -> jax.Array:
    """True entries of an array of any shape, a scalar int32; several times as fast as ``jnp.sum``.

    Rows are added up in small groups first: int8 lanes are four times as many as int32 lanes, and
    groups of 16 rows rarely straddle the shards of a sharded array.

    >>> int(count_true(jnp.array([[True, False], [True, True]])))
    3
    """
    rows = as_rows(marks)
    groups = rows.reshape(-1, math.gcd(rows.shape[0], GROUP), rows.shape[1])
    exact = jnp.float32 if marks.size < 2**24 else jnp.int32  # of the two, floats add up faster
    return jnp.sum(jnp.sum(groups, axis=1, dtype=jnp.int8), dtype=exact).astype(jnp.int32)
