"""From parameters and scores to pruned parameters."""

from typing import Any

import jax

from mpjax.pruning.rules import Rule
from mpjax.pruning.structures import ELEMENT, Structure
from mpjax.pruning.trees import Tree, Where, merge, select


def prune_params(
    rule: Rule,
    params: Tree,
    scores: Tree,
    threshold: Any,
    where: Where,
    noise: Tree | None = None,
    structure: Structure = ELEMENT,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``params`` with every prunable kernel masked, and the masks in the shapes of the scores.

    Differentiable in ``params`` and ``scores`` with the rule's gradients.

    Args:
      rule: the pruning rule.
      params: any nested dict of parameters.
      scores: the rule's scores, see ``Structure.like_scores``; {} for a rule without.
      threshold: scalar, a Python float or traced.
      where: picks the prunable kernels; see :func:`select`.
      noise: for stochastic rules in training; None = deterministic, what is evaluated and exported.
      structure: what one score decides about; by default one weight.

    >>> import jax.numpy as jnp
    >>> from mpjax.pruning.rules import make_rule
    >>> params = {"dense": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.ones(2)}}
    >>> rule = make_rule("magnitude", final=0.5)
    >>> pruned, masks = prune_params(rule, params, {}, 0.5, ".*/kernel")
    >>> pruned["dense"]["kernel"].tolist(), masks["dense"]["kernel"].tolist()
    ([[0.0, -3.0]], [[False, True]])
    """
    kernels = select(params, where)
    masks = structure.masks(rule, kernels, scores, threshold, noise)
    gates = structure.expand(rule.learnable(scores, masks), kernels)
    pruned = jax.tree.map(lambda w, gate: w * gate.astype(w.dtype), kernels, gates)
    return merge(params, pruned), masks
