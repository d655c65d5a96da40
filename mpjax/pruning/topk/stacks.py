# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of its results partly unknown.)
"""One program for many vectors: XLA compiles each kind of vector once, not each vector."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def per_length(
    function: Callable[..., Any], vectors: Sequence[jax.Array], *numbers: jax.Array
) -> Any:
    """``function(vector, *number)`` of each vector, one `jax.vmap` per length of vectors.

    Args:
      vectors: arrays of one axis. They are stacked, and so moved where they are sharded: keep them
        short.
      numbers: arrays of shape (number of vectors,).

    Returns:
      The results, stacked along a leading axis.

    >>> a, b = jnp.arange(2.0), jnp.arange(3.0)
    >>> per_length(lambda x, k: x.sum() * k, [a, b, a], jnp.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 6.0, 3.0]
    """
    lengths: dict[int, list[int]] = {}
    for i, vector in enumerate(vectors):
        lengths.setdefault(vector.shape[0], []).append(i)
    order = np.argsort(np.concatenate(list(lengths.values())))
    parts = [
        jax.vmap(function)(jnp.stack([vectors[i] for i in at]), *(n[np.array(at)] for n in numbers))
        for at in lengths.values()
    ]
    return jax.tree.map(lambda *found: jnp.concatenate(found)[order], *parts)
