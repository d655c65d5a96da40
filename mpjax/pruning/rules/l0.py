"""L0 regularisation with hard-concrete gates (Louizos et al. 2018)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mpjax.pruning.estimators import straight_through
from mpjax.pruning.penalties import LEFT, RIGHT, TEMPERATURE
from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.topk.num_kept import TracedDensity
from mpjax.pruning.trees import Tree

NOISE_MARGIN = 1e-4  # uniform draws are clamped to [margin, 1 - margin]


@dataclasses.dataclass(frozen=True)
class L0(Rule):
    """Multiplies each weight with a stochastic gate and penalises the expected number of open ones.

    Training: s = σ((ln u − ln(1 − u) + S)/b), M = clip(s·(r − l) + l, 0, 1) with u ~ U(0, 1).
    Evaluation: s = σ(S), no noise, no temperature. Gradients are the true ones.
    With ``final`` = 1, as published, the density follows from λ alone. With a smaller ``final`` the
    ``int(v·n)`` largest gates are kept besides, so the density asked for is reached; the gradient
    passes straight through that cut, so a gate can return.

    Attributes:
      cut: whether the threshold is a density that is enforced; False leaves it to λ, and the
        threshold then only scales λ, as in the published code.

    >>> import jax.numpy as jnp
    >>> rule = L0()
    >>> w, s = {"w": jnp.ones(3)}, {"w": jnp.array([-5.0, 0.0, 5.0])}
    >>> rule.masks(w, s, 1.0)["w"].tolist()
    [0.0, 0.5, 1.0]
    """

    name: ClassVar[str] = "l0"
    default_score_scale: ClassVar[float] = 2.197  # σ = 0.9
    default_score_learning_rate: ClassVar[float] = 1e-1

    initial: float = 1.0
    final: float = 1.0
    regularization: str = "l0"
    cut: bool = True

    def gates(self, scores: Tree, noise: Tree | None = None) -> dict[str, Any]:
        """Hard-concrete gates in [0, 1], same shapes as ``scores``, differentiable."""
        if noise is None:
            concrete = jax.tree.map(jax.nn.sigmoid, scores)
        else:

            def sample(s: jax.Array, u: jax.Array) -> jax.Array:
                u = jnp.clip(u, NOISE_MARGIN, 1 - NOISE_MARGIN)
                return jax.nn.sigmoid((jnp.log(u) - jnp.log(1 - u) + s) / TEMPERATURE)

            concrete = jax.tree.map(sample, scores, noise)
        return jax.tree.map(lambda c: jnp.clip(c * (RIGHT - LEFT) + LEFT, 0.0, 1.0), concrete)

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels
        gates = self.gates(scores, noise)
        within_matrices = isinstance(self.scope, str)
        everything = not isinstance(threshold, TracedDensity) and self.initial == self.final == 1
        if within_matrices and (not self.cut or everything):
            return gates
        kept = top_v(scores, threshold, self)
        return jax.tree.map(lambda g, k: straight_through(g, jnp.where(k, g, 0)), gates, kept)

    def straight_through_masks(self, scores: Tree, masks: Tree) -> dict[str, Any]:
        del scores  # the gates carry their own gradient
        return dict(masks)

    def penalty_scale(self, threshold: Any, final: Any) -> Any:
        return jnp.ones_like(threshold) if self.cut else threshold / final

    def sample_noise(self, key: jax.Array, scores: Tree) -> dict[str, Any]:
        leaves, treedef = jax.tree.flatten(scores)
        keys = jax.random.split(key, len(leaves))
        draws = [jax.random.uniform(k, s.shape, s.dtype) for k, s in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(treedef, draws)
