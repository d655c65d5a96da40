"""Movement pruning: keep the largest learned scores."""

import dataclasses
from typing import Any, ClassVar

from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.trees import Tree


@dataclasses.dataclass(frozen=True)
class Movement(Rule):
    """Keeps the ``int(v·n)`` weights of largest signed score (Sanh et al. 2020, "MvP").

    A score grows when its weight moves away from zero and falls when it moves towards it, summed
    over training: dL/dS = dL/d(W∘M) ∘ W.

    Attributes:
      published_cut: with the global scope, cut as the published code does: ``int(v·n) + 1``
        survivors, nothing pruned while v is 1, ties at the cut all pruned, 0.5% of every matrix
        kept.

    >>> import jax.numpy as jnp
    >>> rule = Movement(final=0.5)
    >>> w, s = {"w": jnp.ones((2, 2))}, {"w": jnp.array([[1.0, -3.0], [2.0, 0.5]])}
    >>> rule.masks(w, s, 0.5)["w"].tolist()
    [[True, False], [True, False]]
    """

    name: ClassVar[str] = "movement"

    published_cut: bool = False

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels, noise
        return top_v(scores, threshold, self, published_cut=self.published_cut)
