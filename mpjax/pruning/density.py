# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Linear density: fraction of the prunable weights that is kept, and the one asked for."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpjax.pruning.granularities import Group
from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.trees import Tree, Where, flatten, select


def mask_density(masks: Tree) -> Float[Array, ""]:
    """Kept / all weights over every mask; a gate counts as kept if it is not zero.

    Args:
      masks: nested dict of boolean masks or gates, of the shapes of the kernels.

    >>> import jax.numpy as jnp
    >>> masks = {"a": jnp.array([True, False]), "b": jnp.array([0.0, 0.3])}
    >>> float(mask_density(masks))
    0.5
    """
    leaves: list[jax.Array] = jax.tree.leaves(masks)
    # Counts per matrix are exact in int32; a float32 sum of them is good to 1e-7, enough for a log.
    kept = jnp.stack([count_true(m != 0) for m in leaves]).astype(jnp.result_type(float))
    return jnp.sum(kept) / sum(mask.size for mask in leaves)


def linear_density(params: Tree, where: Where) -> float:
    """Non-zero / all entries of the kernels picked by ``where``, counted on the host.

    `mpjax.report.measure` has the counts per matrix, and the published count over all encoder
    parameters.

    >>> import numpy as np
    >>> linear_density({"a": {"kernel": np.array([[1.0, 0.0]]), "bias": np.ones(2)}}, r".*kernel")
    0.5
    """
    kernels = [np.asarray(leaf) for leaf in flatten(select(params, where)).values()]
    return sum(int(np.count_nonzero(k)) for k in kernels) / sum(k.size for k in kernels)


def missed_density(asked: float, groups: Sequence[Group], kept: int) -> str | None:
    """Sentence about a finished pruning that missed its density; None for a hit.

    A cut keeps whole scores, ``int(density · scores)`` of each matrix. A density that differs by
    less than one weight per matrix is the one asked for. Where all groups are N:M it is their N/M.

    Args:
      asked: density of the rule at the end.
      groups: score arrays.
      kept: non-zero weights of their kernels.
    """
    weights = [group.size * group.layers * group.covers for group in groups]
    runs = [group.runs for group in groups if group.runs is not None]
    wanted = asked * sum(weights)
    if len(runs) == len(groups):
        wanted = sum(n * each.density for n, each in zip(weights, runs, strict=True))
    if abs(kept - wanted) <= sum(group.layers for group in groups):
        return None
    covers = {group.covers for group in groups}
    if runs and len(runs) < len(groups):
        why = "it is that of the other matrices, and N:M keeps N of every M weights"
    elif max(covers) > 1:
        many = f"{'up to ' * (len(covers) > 1)}{max(covers):,}"
        why = f"a score covers {many} weights, and is kept whole"
    elif kept < wanted:
        why = "weights that are zero of themselves count as pruned"
    else:
        why = "the rule keeps a least share of every matrix"
    found, total = kept / sum(weights), sum(weights)
    return f"the density is {found:.2%}, where {wanted / total:.2%} was asked for: {why}"
