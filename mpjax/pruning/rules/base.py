"""What a pruning rule is: scores to masks, and what is trained and penalised along the way."""

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mpjax.pruning.estimators import straight_through
from mpjax.pruning.granularities import NofM
from mpjax.pruning.penalties import PENALTIES
from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.topk.masks import top_k_cuts, top_k_masks
from mpjax.pruning.topk.n_of_m import largest_of_runs
from mpjax.pruning.topk.num_kept import Density, density_value, is_final, num_kept
from mpjax.pruning.trees import Tree

RULES: dict[str, type["Rule"]] = {}


@dataclasses.dataclass(frozen=True)
class Rule(abc.ABC):
    """A pruning rule as data. A new rule is one file in this folder with one subclass.

    Trees are nested dicts of arrays with the paths of the prunable kernels, or what a
    ``Structure`` makes of them. The ``threshold`` of a step runs from ``initial`` to ``final`` and
    means what the rule says: a density, or τ.

    Attributes:
      scope: "local", a cut for every array of scores; "global", one cut for all of them; or an
        ``NofM``, a cut for every M consecutive scores of the first axis, for rules of a density.
      initial: threshold at the start of training.
      final: threshold at its end.
      regularization: the penalty R on the scores, a key of ``PENALTIES``: "none", "l1" or "l0".
    """

    name: ClassVar[str] = ""
    scopes: ClassVar[tuple[str, ...]] = ("local", "global")
    has_scores: ClassVar[bool] = True
    is_density: ClassVar[bool] = True  # the threshold is a density in (0, 1]
    default_score_scale: ClassVar[float] = 0.0
    default_score_learning_rate: ClassVar[float] = 1e-2

    scope: str | NofM = "local"
    initial: float = 1.0
    final: float = 0.1
    regularization: str = "none"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__dict__.get("name"):  # a subclass without a name of its own replaces no rule
            RULES[cls.name] = cls

    def __post_init__(self) -> None:
        within_runs = isinstance(self.scope, NofM) and self.is_density
        if self.scope not in self.scopes and not within_runs:
            raise ValueError(
                f"{self.name}: scope is {self.scope!r}; it must be one of {', '.join(self.scopes)}"
                + (" or an NofM" if self.is_density else "")
            )
        if self.regularization not in PENALTIES:
            raise ValueError(
                f"{self.name}: regularization is {self.regularization!r};"
                f" it must be one of {', '.join(PENALTIES)}"
            )
        if self.is_density:
            for field in ("initial", "final"):
                value = getattr(self, field)
                if not 0 < value <= 1:
                    raise ValueError(f"{self.name}: {field} density is {value}, not in (0, 1]")

    @abc.abstractmethod
    def masks(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None = None
    ) -> dict[str, Any]:
        """Masks of the shapes of ``kernels``: boolean, or float in [0, 1] for stochastic gates.

        Args:
          kernels: float arrays, or what stands for their importance; see ``Structure.importance``.
          scores: the same paths and shapes, or {} without scores.
          threshold: scalar, a Python float or traced.
          noise: uniform draws in (0, 1) like ``scores`` for stochastic rules; None = deterministic.
        """

    def straight_through_masks(self, scores: Tree, masks: Tree) -> dict[str, Any]:
        """The masks, with the gradient that the scores learn from: :func:`straight_through`."""
        return jax.tree.map(straight_through, scores, masks)

    def num_kept(self, density: Density, size: int) -> int | jax.Array:
        """Entries of ``size`` that a density keeps; in the end exactly ``int(final * size)``."""
        return num_kept(density, size, final=self.final)

    @property
    def has_penalty(self) -> bool:
        """Whether λ has anything to multiply."""
        return self.has_scores and self.regularization != "none"

    def penalty(self, scores: Tree) -> jax.Array:
        """R(S) ≥ 0, the term that λ multiplies; a scalar, 0 without ``regularization``."""
        return PENALTIES[self.regularization if self.has_scores else "none"](scores)

    def penalty_scale(self, threshold: Any, final: Any) -> Any:
        """λ(t) / λ_final as a function of the threshold: τ(t)/τ_final in the published code."""
        return threshold / final

    def sample_noise(self, key: jax.Array, scores: Tree) -> dict[str, Any] | None:
        """Draws for the ``noise`` argument of a training step; None for deterministic rules."""
        del key, scores
        return None

    def init_scores(
        self,
        kernels: Tree,
        *,
        init: str = "constant",
        scale: float | None = None,
        key: jax.Array | None = None,
    ) -> dict[str, Any]:
        """Scores of the shapes and dtypes of ``kernels``; {} for a rule that has none.

        Args:
          kernels: nested dict of (in, out) arrays, or of anything with a shape and a dtype.
          init: "constant" (every score is ``scale``), "uniform" in [-scale, scale], or "kaiming",
            uniform within ±1/sqrt(length of the first axis). The last two need ``key``.
          scale: defaults to the rule's published value.
          key: a jax.random key.
        """
        if not self.has_scores:
            return {}
        scale = self.default_score_scale if scale is None else scale
        if init == "constant":
            return jax.tree.map(lambda w: jnp.full(w.shape, scale, w.dtype), kernels)
        if init not in ("uniform", "kaiming"):
            raise ValueError(f"score init is {init!r}; it must be constant, uniform or kaiming")
        if key is None:
            raise ValueError(f"score init {init!r} is random and needs a key")
        leaves, treedef = jax.tree.flatten(kernels)
        draws = [
            jax.random.uniform(
                k,
                w.shape,
                w.dtype,
                -(bound := scale if init == "uniform" else w.shape[0] ** -0.5),
                bound,
            )
            for k, w in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        ]
        return jax.tree.unflatten(treedef, draws)


# The published threshold rules never leave a matrix with less than this density.
PUBLISHED_FLOOR = 0.005


def floored(cuts: list[Any], scores: list[jax.Array], floor: float) -> list[jax.Array]:
    """Cuts, lowered for every matrix with fewer than k = ``int(floor·n) + 1`` scores above its own.

    Strictly above the lowered cut, its (n − k)-th smallest score (at least the first), lie k scores
    where none are tied: the rule of the published code.
    """
    least = [int(floor * s.size) + 1 for s in scores]
    kept = [count_true(s > c) for s, c in zip(scores, cuts, strict=True)]
    own = jnp.stack([jnp.asarray(c, s.dtype) for s, c in zip(scores, cuts, strict=True)])
    few = jnp.stack(kept) < jnp.asarray(least)

    def lowered() -> jax.Array:
        counts = [min(k, s.size - 1) for k, s in zip(least, scores, strict=True)]
        floors = jnp.stack(top_k_cuts(scores, counts)).astype(own.dtype)
        return jnp.where(few, floors, own)

    # Almost never taken, and a selection costs far more than the masks do. The branches give
    # scalars: masks that leave a conditional are copied.
    return list(jax.lax.cond(jnp.any(few), lowered, lambda: own))


def top_v(
    importance: Tree, density: Density, rule: Rule, *, published_cut: bool = False
) -> dict[str, Any]:
    """Masks of the ``int(density · n)`` largest entries, per matrix, over all of them or in runs.

    Args:
      importance: nested dict of float arrays.
      density: Python float or traced scalar.
      rule: gives the scope, and the final density so that its count is exact in float32.
      published_cut: with the global scope, cut as the published code does: ``int(v·n) + 1``
        survivors, nothing pruned while v is 1, entries equal to the cut all pruned, and
        0.5% of every matrix kept, see :func:`floored`.
    """
    leaves, treedef = jax.tree.flatten(jax.lax.stop_gradient(importance))
    if isinstance(rule.scope, NofM):
        n, m = rule.scope.n, rule.scope.m
        # However low a density is asked of the others, runs end at n; they come down to it with it.
        count = jnp.where(
            is_final(density, rule.final),
            n,
            jnp.clip(num_kept(density_value(density), m), n, m),
        )
        return jax.tree.unflatten(treedef, [largest_of_runs(x, count, m) for x in leaves])
    total = sum(leaf.size for leaf in leaves)
    if rule.scope == "local":
        counts = [rule.num_kept(density, leaf.size) for leaf in leaves]
        return jax.tree.unflatten(treedef, top_k_masks(leaves, counts))
    count = rule.num_kept(density, total)
    if not published_cut:
        return jax.tree.unflatten(treedef, top_k_masks(leaves, [count], joint=True))
    count = jnp.where(density_value(density) >= 1, total, jnp.minimum(count + 1, total - 1))
    cuts = floored(top_k_cuts(leaves, [count], joint=True), leaves, PUBLISHED_FLOOR)
    return jax.tree.unflatten(treedef, [x > cut for x, cut in zip(leaves, cuts, strict=True)])
