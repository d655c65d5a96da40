"""Movement pruning: keep the largest learned scores (Sanh et al. 2020, arXiv 2005.07683)."""

import dataclasses
from typing import Any, ClassVar

from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.trees import Tree


@dataclasses.dataclass(frozen=True)
class Movement(Rule):
    """Keeps the ``int(v·n)`` weights of largest signed score ("MvP" in Sanh et al. 2020).

    By ∂L/∂S = ∂L/∂(W∘M) ∘ W (eq. 2) a score grows while its weight moves away from zero and falls
    while it moves towards zero; S accumulates that movement over training (eq. 3).

    Attributes:
      scope: besides "local" and "global", "type": one cut per matrix, with more entries for
        matrices whose mean σ(S) is above that of the same matrix in other layers.
      published_cut: global scope only, the cut of the published code: ``int(v·n) + 1`` kept,
        nothing pruned at v = 1, all ties at the cut pruned, at least 0.5% of every matrix kept.

    >>> import jax.numpy as jnp
    >>> rule = Movement(final=0.5)
    >>> w, s = {"w": jnp.ones((2, 2))}, {"w": jnp.array([[1.0, -3.0], [2.0, 0.5]])}
    >>> rule.masks(w, s, 0.5)["w"].tolist()
    [[True, False], [True, False]]
    """

    name: ClassVar[str] = "movement"
    scopes: ClassVar[tuple[str, ...]] = ("local", "global", "type")

    published_cut: bool = False

    @property
    def counts_weights(self) -> bool:
        return super().counts_weights and not self.published_cut

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels, noise
        return top_v(scores, threshold, self, published_cut=self.published_cut)
