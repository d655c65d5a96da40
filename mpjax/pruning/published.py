"""Masks by the names that the published PyTorch code gives to its methods."""

from typing import Any

import jax

from mpjax.pruning.rules import make_rule
from mpjax.pruning.rules.base import PUBLISHED_FLOOR, floored
from mpjax.pruning.structures import spread
from mpjax.pruning.trees import Tree

# Its pruning_method -> our rule. "threshold" is a raw cut on the scores, which its trainer sets
# anew in every step so that the movement scores of all matrices keep one density.
RULE_OF = {
    "topK": "movement",
    "threshold": "movement",
    "sigmoied_threshold": "soft_movement",
    "magnitude": "magnitude",
    "l0": "l0",
}
# And back; of the two of movement, the one whose threshold is a density.
METHOD_OF = {rule: method for method, rule in RULE_OF.items() if method != "threshold"}


def published_masks(method: str, kernels: Tree, scores: Tree, threshold: Any) -> dict[str, Any]:
    """Masks of the shapes of ``kernels``, as its masked layers make them in evaluation.

    Args:
      method: a key of ``RULE_OF``.
      scores: at the same paths, of the shapes of the kernels or of their grids of blocks; not used
        by magnitude.
      threshold: topK and magnitude, the fraction kept; threshold, the cut S > threshold;
        sigmoied_threshold, τ; no matter for l0.

    >>> import jax.numpy as jnp
    >>> w, s = {"w": jnp.ones((2, 4))}, {"w": jnp.array([[1.0, 2.0]])}
    >>> published_masks("threshold", w, s, 1.5)["w"].astype(int).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if method == "threshold":
        leaves, treedef = jax.tree.flatten(scores)
        cuts = floored([threshold] * len(leaves), leaves, PUBLISHED_FLOOR)
        above = [s > cut for s, cut in zip(leaves, cuts, strict=True)]
        masks: Any = jax.tree.unflatten(treedef, above)
    elif method == "l0":
        masks = make_rule("l0", cut=False).masks(kernels, scores, 1.0)
    else:
        masks = make_rule(RULE_OF[method], final=threshold).masks(kernels, scores, threshold)
    return jax.tree.map(lambda mask, kernel: spread(mask, kernel.shape), masks, kernels)
