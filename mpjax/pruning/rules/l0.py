# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""L0 regularisation with hard-concrete gates (Louizos et al. 2018, arXiv 1712.01312)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mpjax.pruning.estimators import straight_through
from mpjax.pruning.penalties import LEFT, RIGHT, TEMPERATURE
from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.topk.num_kept import TracedDensity
from mpjax.pruning.trees import Tree, map_leaves, split_leaves

NOISE_MARGIN = 1e-4  # uniform draws are clamped to [margin, 1 - margin]: finite logarithms


@dataclasses.dataclass(frozen=True)
class L0(Rule):
    """Multiplies each weight with a stochastic gate and penalises the expected number of open ones.

    Training: s = σ((ln u − ln(1 − u) + S)/b), M = clip(s·(r − l) + l, 0, 1) with u ~ U(0, 1)
    (Louizos et al. 2018, eq. 10-11). Evaluation: s = σ(S), no noise, no temperature (eq. 13).
    Gradients are the true ones (Sanh et al. 2020, eq. 4).

    With ``final`` = 1, as published, the density follows from λ alone. With a smaller ``final`` the
    ``int(v·n)`` largest gates are kept in addition, which reaches the density asked for; the
    gradient passes straight through that cut, so that a gate can return.

    Attributes:
      cut: whether the threshold is a density that is enforced; False leaves the density to λ, and
        the threshold only scales λ, as in the published code.

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
        """Hard-concrete gates in [0, 1] of the shapes of ``scores``, differentiable."""

        def sample(s: jax.Array, u: jax.Array) -> jax.Array:
            u = jnp.clip(u, NOISE_MARGIN, 1 - NOISE_MARGIN)
            return jax.nn.sigmoid((jnp.log(u) - jnp.log(1 - u) + s) / TEMPERATURE)

        def stretch(concrete: jax.Array) -> jax.Array:
            return jnp.clip(concrete * (RIGHT - LEFT) + LEFT, 0.0, 1.0)

        if noise is None:
            return map_leaves(stretch, map_leaves(jax.nn.sigmoid, scores))
        return map_leaves(stretch, map_leaves(sample, scores, noise))

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels
        gates = self.gates(scores, noise)
        within_matrices = isinstance(self.scope, str)
        everything = not isinstance(threshold, TracedDensity) and self.initial == self.final == 1
        if within_matrices and (not self.cut or everything):
            return gates

        def close(gate: jax.Array, kept: jax.Array) -> jax.Array:
            return straight_through(gate, jnp.where(kept, gate, 0))

        return map_leaves(close, gates, top_v(scores, threshold, self))

    def straight_through_masks(self, scores: Tree, masks: Tree) -> dict[str, Any]:
        del scores  # the gates carry their own gradient
        return dict(masks)

    def penalty_scale(self, threshold: Any, final: Any) -> Any:
        # A density falls in training, so λ must not follow it: λ(t) = λ_final.
        return jnp.ones_like(threshold) if self.cut else threshold / final

    def sample_noise(self, key: Key[Array, ""], scores: Tree) -> dict[str, Any]:
        leaves, rebuild = split_leaves(scores)
        keys = jax.random.split(key, len(leaves))
        return rebuild(
            [jax.random.uniform(k, s.shape, s.dtype) for k, s in zip(keys, leaves, strict=True)]
        )
