"""Counting on the device, and how many weights remain in the two ways people count them."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpjax.pruning.trees import Tree, Where, flatten, select

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


def mask_density(masks: Tree, covers: Tree | None = None) -> jax.Array:
    """Kept / all weights over every mask, a scalar; a gate counts as kept if it is not zero.

    Args:
      masks: nested dict of boolean masks or gates.
      covers: how many weights an entry of each mask decides about; None = one.

    >>> import jax.numpy as jnp
    >>> masks = {"a": jnp.array([True, False]), "b": jnp.array([0.0, 0.3])}
    >>> float(mask_density(masks)), float(mask_density(masks, {"a": 1, "b": 9}))
    (0.5, 0.5)
    """
    leaves = jax.tree.leaves(masks)
    each = [1] * len(leaves) if covers is None else jax.tree.leaves(covers)
    # Per-matrix counts are exact in int32; their float32 sum is good to 1e-7, enough for a log.
    kept = jnp.stack([count_true(m != 0) for m in leaves]).astype(jnp.result_type(float))
    weights = jnp.array(each, kept.dtype)
    return jnp.sum(kept * weights) / sum(m.size * n for m, n in zip(leaves, each, strict=True))


def linear_density(params: Tree, where: Where) -> dict[str, tuple[int, int]]:
    """(non-zero, all) entries of every matrix that ``where`` picks, by path, on the host.

    >>> import numpy as np
    >>> linear_density({"a": {"kernel": np.array([[1.0, 0.0]])}}, r".*kernel")
    {'a/kernel': (1, 2)}
    """
    return {
        path: (int(np.count_nonzero(np.asarray(leaf))), int(np.size(leaf)))
        for path, leaf in flatten(select(params, where)).items()
    }


def overall(counts: Mapping[str, tuple[int, int]]) -> float:
    """Kept / all over every matrix of :func:`linear_density`, in [0, 1].

    >>> overall({"a": (1, 2), "b": (0, 2)})
    0.25
    """
    return sum(kept for kept, _ in counts.values()) / sum(size for _, size in counts.values())


def encoder_remaining(params: Tree, where: Where, encoder: Where = r".*/encoder/.*") -> float:
    """The published count: what remains of *all* encoder parameters, biases and norms included.

    About 0.1 points above the linear density in BERT-base. Returns a fraction in [0, 1].

    >>> import numpy as np
    >>> layer = {"kernel": np.array([[1.0, 0.0]]), "bias": np.zeros(2)}
    >>> encoder_remaining({"bert": {"encoder": {"l": layer}}}, r".*kernel")
    0.75
    """
    everything: dict[str, Any] = flatten(select(params, encoder))
    counts = linear_density(params, where)
    size = sum(int(np.size(leaf)) for leaf in everything.values())
    return (size - sum(n - kept for kept, n in counts.values())) / size
