# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Allocation of a density among matrices of one type, by their mean σ(S) (Jiang et al. 2022, SMP).

Matrices of one type, say the queries of all layers, differ in what they can lose; those of
different types differ in the scale of their scores, so types keep their density.
"""

import re
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32

from mpjax.pruning.trees import Tree, flatten


def allocated_counts(
    shares: Float[Array, " matrices"],
    sizes: Sequence[int],
    total: int | Int32[Array, ""],
) -> Int32[Array, " matrices"]:
    """Entries kept of each of several matrices, ``total`` of all, in proportion to their shares.

    Matrix l of n_l entries and share m_l keeps k_l = round(min(1, c·m_l)·n_l), with c such that
    Σ min(1, c·m_l)·n_l = total: what does not fit into a full matrix goes to the others, by their
    shares. What rounding adds to or takes from the total is settled in the matrix of the largest
    share that has room. At least one entry of each matrix is kept, on top of the total.

    Args:
      shares: m_l > 0. sizes: n_l. total: Σ k_l, at most Σ n_l.

    >>> allocated_counts(jnp.array([0.1, 0.3]), [100, 100], 40).tolist()
    [10, 30]
    >>> allocated_counts(jnp.array([0.1, 0.3]), [100, 100], 160).tolist()
    [60, 100]
    """
    order = jnp.argsort(-shares)  # largest share first; a stable sort
    m, n = shares[order], jnp.asarray(sizes, jnp.int32)[order]
    total = jnp.asarray(total, jnp.int32)
    # If the first j are full, the others share the rest. The first j that leaves the next one
    # within its size is the right one. Differences are taken in int32: exact beyond 2^24.
    full = jnp.cumsum(n) - n
    weights = m * n.astype(m.dtype)
    tail = jnp.cumsum(weights[::-1])[::-1]
    level = (total - full).astype(m.dtype) / tail
    fits = level * m <= 1
    here = jnp.where(jnp.any(fits), jnp.argmax(fits), len(sizes) - 1)
    kept = jnp.round(jnp.minimum(level[here] * m, 1) * n.astype(m.dtype)).astype(jnp.int32)
    kept = jnp.where(jnp.arange(len(sizes)) < here, n, kept)
    kept = _settled(jnp.clip(kept, 0, n), n, total)
    return jnp.zeros_like(kept).at[order].set(jnp.maximum(kept, 1))


def _settled(kept: jax.Array, room: jax.Array, total: jax.Array) -> jax.Array:
    """Counts within ``room`` that add up to ``total``; the first ones change first."""
    rest = total - jnp.sum(kept)
    free = jnp.where(rest > 0, room - kept, kept)
    before = jnp.cumsum(free) - free
    return kept + jnp.sign(rest) * jnp.clip(jnp.abs(rest) - before, 0, free)


def counts_by_type(
    scores: Tree, num_kept: Callable[[int], int | jax.Array]
) -> dict[str, Int32[Array, ""]]:
    """Entries kept of every array, those of one type allocated by mean σ(S); by path.

    Paths that differ in numbers only are of one type. A type keeps as many entries as its arrays
    would keep by themselves.

    Args:
      scores: nested dict of arrays.
      num_kept: entries that an array of a size keeps by itself, ``int(v·n)``.

    >>> scores = {"layer_0": {"k": jnp.full(100, 0.0)}, "layer_1": {"k": jnp.full(100, -1.0)}}
    >>> {path: int(k) for path, k in counts_by_type(scores, lambda n: int(0.3 * n)).items()}
    {'layer_0/k': 39, 'layer_1/k': 21}
    """
    flat = flatten(scores)
    types: dict[str, list[str]] = {}
    for path in flat:
        types.setdefault(re.sub(r"\d+", "*", path), []).append(path)
    counts: dict[str, jax.Array] = {}
    for paths in types.values():
        sizes = [flat[path].size for path in paths]
        shares = jnp.stack([jnp.mean(jax.nn.sigmoid(flat[path])) for path in paths])
        each = [jnp.asarray(num_kept(n), jnp.int32) for n in sizes]
        total = sum(each[1:], start=each[0])
        counts |= dict(zip(paths, allocated_counts(shares, sizes, total), strict=True))
    return counts
