"""Search for numbers that are not finite in a train state."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mpjax.parallel.sharding import fetch


def not_finite(tree: Any) -> str | None:
    """Path of the first float array with an infinity or a NaN; None if all numbers are finite.

    One pass on the devices; with several processes, all must call.

    >>> not_finite({"params": {"kernel": jnp.array([1.0, jnp.nan])}, "step": jnp.array(3)})
    "['params']['kernel']"
    """
    leaves = [
        (path, leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    if not leaves:
        return None
    finite = fetch(_all_finite([leaf for _, leaf in leaves]))
    return next(
        (jax.tree_util.keystr(p) for (p, _), ok in zip(leaves, finite, strict=True) if not ok), None
    )


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves])
