"""Masks by the method names of the published PyTorch code."""

from typing import Any

import jax

from mpjax.pruning.rules import make_rule
from mpjax.pruning.rules.base import PUBLISHED_FLOOR, floored
from mpjax.pruning.spreading import spread
from mpjax.pruning.trees import Tree, map_leaves, split_leaves

# Published pruning_method -> rule. "threshold" is a raw cut on the scores, which the published
# trainer sets in every step so that the movement scores of all matrices keep one density.
RULE_OF = {
    "topK": "movement",
    "threshold": "movement",
    "sigmoied_threshold": "soft_movement",
    "magnitude": "magnitude",
    "l0": "l0",
}
# Rule -> pruning_method; for movement the one whose threshold is a density.
METHOD_OF = {rule: method for method, rule in RULE_OF.items() if method != "threshold"}


def published_masks(method: str, kernels: Tree, scores: Tree, threshold: Any) -> dict[str, Any]:
    """Masks of the shapes of ``kernels``, as the published masked layers evaluate them.

    Args:
      method: a key of ``RULE_OF``.
      kernels: nested dict of arrays.
      scores: at the same paths, of the shapes of the kernels or of their grids of blocks; unused
        by magnitude.
      threshold: density (topK, magnitude), cut S > threshold (threshold), or τ
        (sigmoied_threshold); unused by l0.

    >>> import jax.numpy as jnp
    >>> w, s = {"w": jnp.ones((2, 4))}, {"w": jnp.array([[1.0, 2.0]])}
    >>> published_masks("threshold", w, s, 1.5)["w"].astype(int).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if method == "threshold":
        leaves, rebuild = split_leaves(scores)
        cuts = floored([threshold] * len(leaves), leaves, PUBLISHED_FLOOR)
        masks = rebuild([s > cut for s, cut in zip(leaves, cuts, strict=True)])
    elif method == "l0":
        masks = make_rule("l0", cut=False).masks(kernels, scores, 1.0)
    else:
        masks = make_rule(RULE_OF[method], final=threshold).masks(kernels, scores, threshold)

    def over_kernel(mask: jax.Array, kernel: jax.Array) -> jax.Array:
        return spread(mask, kernel.shape)

    return map_leaves(over_kernel, masks, kernels)
