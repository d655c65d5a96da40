"""Magnitude pruning: keep the largest |W| (Zhu & Gupta 2017, arXiv 1710.01878)."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp

from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.trees import Tree, map_leaves


@dataclasses.dataclass(frozen=True)
class Magnitude(Rule):
    """Keeps the ``int(v·n)`` weights of largest magnitude ("MaP" in Sanh et al. 2020); no scores.

    The mask is a constant for differentiation: a pruned weight gets no gradient, and returns only
    if kept weights shrink below it.

    Attributes:
      published_cut: global scope only, the cut of the published code: ``int(v·n) + 1`` kept,
        nothing pruned at v = 1, all ties at the cut pruned, at least 0.5% of every matrix kept.

    >>> import jax.numpy as jnp
    >>> rule = Magnitude(final=0.5)
    >>> rule.masks({"w": jnp.array([[1.0, -3.0], [2.0, 0.5]])}, {}, 0.5)["w"].tolist()
    [[False, True], [True, False]]
    """

    name: ClassVar[str] = "magnitude"
    has_scores: ClassVar[bool] = False

    published_cut: bool = False

    @property
    def counts_weights(self) -> bool:
        return super().counts_weights and not self.published_cut

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del scores, noise
        sizes = map_leaves(jnp.abs, kernels)
        return top_v(sizes, threshold, self, published_cut=self.published_cut)
