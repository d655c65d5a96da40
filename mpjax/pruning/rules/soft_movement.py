# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Soft movement pruning: keep every weight whose score clears a threshold (Sanh et al. 2020)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mpjax.pruning.granularities import ByWeight
from mpjax.pruning.rules.base import PUBLISHED_FLOOR, Rule, floored, top_v
from mpjax.pruning.rules.movement import Movement
from mpjax.pruning.trees import Tree, split_leaves


@dataclasses.dataclass(frozen=True)
class SoftMovement(Rule):
    """Keeps the weights with σ(S) > τ ("SMvP" in Sanh et al. 2020), as the published code does.

    τ ramps from ``initial`` = 0 to ``final`` = 0.1 while λ(t) = λ_final·τ(t)/τ_final presses the
    scores down; the density follows from λ. The paper (section 4) has a fixed τ and M = S > τ. A
    matrix that would keep fewer than ``int(floor·n) + 1`` weights keeps that many.

    With a ``density`` the threshold that `masks` takes is a density, and the largest scores of all
    matrices are kept: the cut that the published rule would make, moved to where the density is
    right. `optim.steer_density` keeps the two close.

    Attributes:
      floor: smallest density of a matrix, without ``density``.
      density: final density; None = it follows from λ, as published.

    >>> import jax.numpy as jnp
    >>> rule = SoftMovement()
    >>> w, s = {"w": jnp.ones((2, 2))}, {"w": jnp.array([[1.0, -3.0], [-2.0, 0.5]])}
    >>> rule.masks(w, s, 0.1)["w"].tolist()
    [[True, False], [True, True]]
    """

    name: ClassVar[str] = "soft_movement"
    scopes: ClassVar[tuple[str, ...]] = ("local",)
    is_density: ClassVar[bool] = False
    can_be_steered: ClassVar[bool] = True

    initial: float = 0.0
    final: float = 0.1
    regularization: str = "l1"
    floor: float = PUBLISHED_FLOOR
    density: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.initial < 1 and 0 < self.final < 1):
            raise ValueError(
                f"soft_movement: τ runs from {self.initial} to {self.final}; the first must lie in"
                " [0, 1), the second in (0, 1)"
            )
        if not 0 <= self.floor < 1:
            raise ValueError(f"soft_movement: floor is {self.floor}, not in [0, 1)")
        if self.density is not None and not 0 < self.density <= 1:
            raise ValueError(f"soft_movement: density is {self.density}, not in (0, 1]")

    @property
    def final_density(self) -> float | None:
        return self.density

    @property
    def counts_weights(self) -> bool:
        return self.density is not None  # one threshold cuts all matrices

    @property
    def is_steered(self) -> bool:
        return self.density is not None

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels, noise
        if self.density is not None:
            scope = self.scope if isinstance(self.scope, ByWeight) else "global"
            return top_v(scores, threshold, Movement(scope, final=self.density))
        leaves, rebuild = split_leaves(jax.lax.stop_gradient(scores))
        cuts = floored([_cut(threshold, leaves)] * len(leaves), leaves, self.floor)
        return rebuild([s > c for s, c in zip(leaves, cuts, strict=True)])

    def kept_by_threshold(self, scores: Tree, threshold: Any) -> dict[str, Any]:
        leaves, rebuild = split_leaves(jax.lax.stop_gradient(scores))
        return rebuild([s > _cut(threshold, leaves) for s in leaves])


def _cut(threshold: Any, leaves: list[jax.Array]) -> jax.Array:
    """ln(τ/(1 − τ)), so that σ(S) > τ is one comparison instead of an exponential per weight."""
    return jax.scipy.special.logit(jnp.asarray(threshold, jnp.result_type(*leaves)))
