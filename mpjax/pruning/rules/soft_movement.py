# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Soft movement pruning: keep every weight whose score clears a threshold (Sanh et al. 2020)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mpjax.pruning.rules.base import PUBLISHED_FLOOR, Rule, floored
from mpjax.pruning.trees import Tree, split_leaves


@dataclasses.dataclass(frozen=True)
class SoftMovement(Rule):
    """Keeps the weights with σ(S) > τ ("SMvP" in Sanh et al. 2020), as the published code does.

    τ ramps from ``initial`` = 0 to ``final`` = 0.1 while λ(t) = λ_final·τ(t)/τ_final presses the
    scores down; the density follows from λ. The paper (section 4) has a fixed τ and M = S > τ. A
    matrix that would keep fewer than ``int(floor·n) + 1`` weights keeps that many.

    Attributes:
      floor: smallest density of a matrix.

    >>> import jax.numpy as jnp
    >>> rule = SoftMovement()
    >>> w, s = {"w": jnp.ones((2, 2))}, {"w": jnp.array([[1.0, -3.0], [-2.0, 0.5]])}
    >>> rule.masks(w, s, 0.1)["w"].tolist()
    [[True, False], [True, True]]
    """

    name: ClassVar[str] = "soft_movement"
    scopes: ClassVar[tuple[str, ...]] = ("local",)
    is_density: ClassVar[bool] = False

    initial: float = 0.0
    final: float = 0.1
    regularization: str = "l1"
    floor: float = PUBLISHED_FLOOR

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.initial < 1 and 0 < self.final < 1):
            raise ValueError(
                f"soft_movement: τ runs from {self.initial} to {self.final}; the first must lie in"
                " [0, 1), the second in (0, 1)"
            )

    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        del kernels, noise
        leaves, rebuild = split_leaves(jax.lax.stop_gradient(scores))
        # σ(S) > τ as S > ln(τ/(1 − τ)): one comparison instead of an exponential per weight.
        cut = jax.scipy.special.logit(jnp.asarray(threshold, jnp.result_type(*leaves)))
        cuts = floored([cut] * len(leaves), leaves, self.floor)
        return rebuild([s > c for s, c in zip(leaves, cuts, strict=True)])
