"""Density that a finished pruning has reached, beside the one asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mpjax.pruning.trees import Tree, pick

if TYPE_CHECKING:
    from mpjax.pruning.pruning import Pruning


def density_note(pruning: Pruning, params: Tree) -> str | None:
    """Sentence for finalized parameters that miss the density of their rule; None for a hit.

    A cut keeps whole scores, ``int(density · scores)`` of each matrix. A density that differs by
    less than one weight per matrix is the one asked for. N:M groups count with N/M.

    Args:
      pruning: rule, paths and structure.
      params: from `Pruning.finalize`.

    >>> import jax.numpy as jnp
    >>> from mpjax.pruning import Block, Part, Pruning, Structure, make_rule
    >>> params = {"kernel": jnp.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])}
    >>> columns = Structure((Part(".*", Block(None, 1)),))
    >>> print(density_note(Pruning(make_rule("magnitude", final=0.4), structure=columns), params))
    the density is 25.00%, where 40.00% was asked for: a score covers 2 weights, and is kept whole
    >>> density_note(Pruning(make_rule("magnitude", final=0.25), structure=columns), params)
    """
    asked = pruning.rule.final_density
    if asked is None:
        return None
    groups = pruning.groups(params)
    weights = [group.size * group.layers * group.covers for group in groups]
    wanted = sum(
        n * (asked if group.runs is None else group.runs.density)
        for n, group in zip(weights, groups, strict=True)
    )
    kept = sum(int(np.count_nonzero(np.asarray(w))) for w in pick(params, pruning.where).values())
    if abs(kept - wanted) <= sum(group.layers for group in groups):
        return None
    covers = max(group.covers for group in groups)
    why = (
        f"a score covers {'up to ' * (len({g.covers for g in groups}) > 1)}{covers:,} weights, and "
        "is kept whole"
        if covers > 1
        else "weights that are zero of themselves count as pruned"
    )
    found, total = kept / sum(weights), sum(weights)
    return f"the density is {found:.2%}, where {wanted / total:.2%} was asked for: {why}"
