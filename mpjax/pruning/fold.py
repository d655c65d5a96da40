"""From parameters and scores to pruned parameters."""

from typing import Any

from mpjax.pruning.rules import Rule
from mpjax.pruning.trees import Tree, Where, merge, restrict, select


def prune_params(
    rule: Rule,
    params: Tree,
    scores: Tree,
    threshold: Any,
    where: Where,
    noise: Tree | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``params`` with every prunable kernel masked, and the masks.

    Differentiable in ``params`` and ``scores`` with the rule's gradients.

    Args:
      rule: the pruning rule.
      params: any nested dict of parameters.
      scores: the rule's scores at the prunable paths; {} for a rule without.
      threshold: scalar, a Python float or traced.
      where: picks the prunable kernels; see :func:`select`. Where there are scores, their paths do.
      noise: for stochastic rules in training; None = deterministic, what is evaluated and exported.

    >>> import jax.numpy as jnp
    >>> from mpjax.pruning.rules import make_rule
    >>> params = {"dense": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.ones(2)}}
    >>> rule = make_rule("magnitude", final=0.5)
    >>> pruned, masks = prune_params(rule, params, {}, 0.5, ".*/kernel")
    >>> pruned["dense"]["kernel"].tolist(), masks["dense"]["kernel"].tolist()
    ([[0.0, -3.0]], [[False, True]])
    """
    kernels = restrict(params, scores) if scores else select(params, where)
    masks = rule.masks(kernels, scores, threshold, noise)
    return merge(params, rule.apply(kernels, scores, masks)), masks
