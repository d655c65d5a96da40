# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""L0 regularisation with hard-concrete gates (Louizos et al. 2018, arXiv 1712.01312)."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mpjax.pruning.estimators import straight_through
from mpjax.pruning.penalties import LEFT, RIGHT, TEMPERATURE
from mpjax.pruning.rules.base import Rule, top_v
from mpjax.pruning.topk.num_kept import TracedDensity
from mpjax.pruning.trees import Tree, map_leaves, split_leaves

CLOSED = math.log(-LEFT / RIGHT)  # score at and below which the gate of evaluation is 0
OPEN_MARGIN = 0.1  # above `CLOSED`: the gate is 0.0099
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
      steered: whether λ follows the density by feedback; see `optim.steer_density`. The gates kept
        are then the largest of all matrices, and none of them is closed by its own score.
      cut: whether the threshold is a density that is enforced; False leaves the density to λ, and
        the threshold only scales λ, as in the published code.

    >>> import jax.numpy as jnp
    >>> rule = L0()
    >>> w, s = {"w": jnp.ones(3)}, {"w": jnp.array([-5.0, 0.0, 5.0])}
    >>> rule.masks(w, s, 1.0)["w"].tolist()
    [0.0, 0.5, 1.0]
    """

    name: ClassVar[str] = "l0"
    can_be_steered: ClassVar[bool] = True
    default_score_scale: ClassVar[float] = 2.197  # σ = 0.9
    default_score_learning_rate: ClassVar[float] = 1e-1

    initial: float = 1.0
    final: float = 1.0
    regularization: str = "l0"
    cut: bool = True
    steered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steered and (self.scope == "local" or not self.cut):
            raise ValueError(f"l0: steered needs scope 'global' and a cut; it is {self.scope!r}")

    @property
    def is_steered(self) -> bool:
        return self.steered

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
        within_matrices = isinstance(self.scope, str)
        whole = not self.steered and self.initial == self.final == 1
        everything = whole and not isinstance(threshold, TracedDensity)
        if within_matrices and (not self.cut or everything):
            return self.gates(scores, noise)
        return self.masks_of_kept(scores, top_v(scores, threshold, self), noise)

    def kept(self, kernels: Tree, scores: Tree, threshold: Any) -> dict[str, Any]:
        if self.cut:
            return top_v(scores, threshold, self)
        return super().kept(kernels, scores, threshold)

    def masks_of_kept(self, scores: Tree, kept: Tree, noise: Tree | None = None) -> dict[str, Any]:
        if self.steered:
            scores = map_leaves(_open, scores, kept)

        def close(gate: jax.Array, kept: jax.Array) -> jax.Array:
            return straight_through(gate, jnp.where(kept, gate, 0))

        return map_leaves(close, self.gates(scores, noise), kept)

    def kept_by_threshold(self, scores: Tree, threshold: Any) -> dict[str, Any]:
        del threshold

        def is_open(score: jax.Array) -> jax.Array:
            return score > CLOSED

        return map_leaves(is_open, jax.lax.stop_gradient(scores))

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


def _open(score: jax.Array, kept: jax.Array) -> jax.Array:
    """Score raised so that a kept gate is open; its gradient is that of the score."""
    lift = jnp.where(kept, jnp.maximum(CLOSED + OPEN_MARGIN - score, 0), 0)
    return score + jax.lax.stop_gradient(lift)
