"""Magnitude pruning: keep the largest |W|."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.trees import Tree


@dataclasses.dataclass(frozen=True)
class Magnitude(Rule):
    """Keeps the ``int(v·n)`` weights of largest magnitude; nothing but the weights is trained.

    The mask is a constant for differentiation: a pruned weight gets no gradient, so it stays where
    it is until its neighbours shrink below it.

    Attributes:
      published_cut: with the global scope, cut as the published code does: ``int(v·n) + 1``
        survivors, nothing pruned while v is 1, ties at the cut all pruned, 0.5% of every matrix
        kept.

    >>> import jax.numpy as jnp
    >>> rule = Magnitude(final=0.5)
    >>> rule.masks({"w": jnp.array([[1.0, -3.0], [2.0, 0.5]])}, {}, 0.5)["w"].tolist()
    [[False, True], [True, False]]
    """

    name: ClassVar[str] = "magnitude"
    has_scores: ClassVar[bool] = False

    published_cut: bool = False

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del scores, noise
        return top_v(
            jax.tree.map(jnp.abs, kernels), threshold, self, published_cut=self.published_cut
        )

    def straight_through_masks(self, scores: Tree, masks: Tree) -> dict[str, Any]:
        del scores
        return dict(masks)
