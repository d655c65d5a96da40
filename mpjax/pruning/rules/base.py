# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Interface of pruning rules, and the cuts they share.

A rule turns scores into masks, and says what is trained and penalised. To add one, copy
``movement.py``: a file in this folder with one subclass of `Rule` that has a ``name``.
"""

import abc
import dataclasses
import numbers
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mpjax import plugins
from mpjax.pruning.allocation import counts_by_type
from mpjax.pruning.estimators import straight_through
from mpjax.pruning.granularities import ByWeight, NofM
from mpjax.pruning.penalties import PENALTIES
from mpjax.pruning.topk.budget import budget_counts
from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.topk.masks import top_k_cuts, top_k_masks
from mpjax.pruning.topk.n_of_m import largest_of_runs
from mpjax.pruning.topk.num_kept import Threshold, is_final, num_kept, threshold_value
from mpjax.pruning.trees import Tree, flatten, map_leaves, split_leaves

RULES: dict[str, type["Rule"]] = {}
# Files of this folder, so that a plugin cannot take a name before its file has been read.
OUR_RULES = {module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])}


@dataclasses.dataclass(frozen=True)
class Rule(abc.ABC):
    """A pruning rule as data: scores to masks.

    Trees are dicts of arrays by the paths of the prunable kernels, or of the scores that a
    ``Structure`` gives them; the layers of a stack are arrays of their own. The threshold runs from
    ``initial`` to ``final`` in training; it is a density or τ, as ``is_density`` says.

    Attributes:
      scope: "local", one cut per score array; "global", one cut for all of them; or, for rules of
        a density, what `cuts.scopes` makes of these: an ``NofM``, one cut per M consecutive
        scores of the first axis, or a ``ByWeight``, one cut for all by the weights covered.
      initial: threshold at the start of training.
      final: threshold at the end of training.
      regularization: penalty R on the scores, a key of ``PENALTIES``: "none", "l1" or "l0".
    """

    name: ClassVar[str] = ""
    scopes: ClassVar[tuple[str, ...]] = ("local", "global")
    has_scores: ClassVar[bool] = True
    is_density: ClassVar[bool] = True  # the threshold is a density in (0, 1]
    can_be_steered: ClassVar[bool] = False  # λ can follow from a density, see `is_steered`
    default_score_scale: ClassVar[float] = 0.0
    default_score_learning_rate: ClassVar[float] = 1e-2

    scope: str | NofM | ByWeight = "local"
    initial: float = 1.0
    final: float = 0.1
    regularization: str = "none"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__dict__.get("name"):  # a subclass without a name of its own replaces no rule
            if cls.__module__.partition(".")[0] != plugins.OURS:
                plugins.claim("rule", cls.name, cls.__module__, (*OUR_RULES, "dense"))
            RULES[cls.name] = cls

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, float) and not isinstance(value, numbers.Real):
                raise ValueError(f"{self.name}: {field.name} is {value!r}; it must be a number")
        made = isinstance(self.scope, NofM | ByWeight) and self.final_density is not None
        if self.scope not in self.scopes and not made:
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
          kernels: weights, or their importance in the shapes of the scores; see
            ``Structure.importance``.
          scores: arrays of the paths and shapes of ``kernels``; {} for a rule without scores.
          threshold: scalar, a Python float or traced.
          noise: uniform draws in (0, 1) of the shapes of ``scores`` for stochastic rules; None =
            deterministic.
        """

    def kept(self, kernels: Tree, scores: Tree, threshold: Any) -> dict[str, Any]:
        """Marks of the weights that are kept, boolean, of the shapes of ``kernels``.

        The masks of :meth:`masks` without noise; a gate above 0 is kept.
        """

        def open_(mask: jax.Array) -> jax.Array:
            return mask != 0

        return map_leaves(open_, self.masks(kernels, scores, threshold))

    def masks_of_kept(self, scores: Tree, kept: Tree, noise: Tree | None = None) -> dict[str, Any]:
        """Masks of marks that :meth:`kept` made at this step or an earlier one."""
        del scores, noise
        return dict(kept)

    def straight_through_masks(self, scores: Tree, masks: Tree) -> dict[str, Any]:
        """Masks whose gradient goes to the scores: :func:`straight_through`."""
        if not self.has_scores:
            return dict(masks)
        return map_leaves(straight_through, scores, masks)

    def num_kept(self, density: Threshold, size: int) -> int | jax.Array:
        """Entries kept of ``size``: ``int(density * size)``, exact at the end, and at least one."""
        count = num_kept(density, size, final=self.final_density)
        return max(count, 1) if isinstance(count, int) else jnp.maximum(count, 1)

    @property
    def final_density(self) -> float | None:
        """Density at the end of training; None where it follows from λ."""
        return self.final if self.is_density else None

    @property
    def counts_weights(self) -> bool:
        """Whether one density holds over all kernels, in weights rather than scores."""
        return self.final_density is not None and self.scope == "global"

    @property
    def is_steered(self) -> bool:
        """Whether feedback on λ holds the density near a path; see `optim.steer_density`."""
        return False

    def kept_by_threshold(self, scores: Tree, threshold: Any) -> dict[str, Any]:
        """Marks of the scores that clear a threshold; for rules that can be steered."""
        raise NotImplementedError(f"{self.name} keeps a number of scores, not those above a value")

    @property
    def has_penalty(self) -> bool:
        """Whether the loss has a term λ·R(S)."""
        return self.has_scores and self.regularization != "none"

    def penalty(self, scores: Tree) -> Float[Array, ""]:
        """R(S) ≥ 0, multiplied by λ in the loss; 0 without ``regularization``."""
        return PENALTIES[self.regularization if self.has_scores else "none"](scores)

    def penalty_scale(self, threshold: Any, final: Any) -> Any:
        """λ(t) / λ_final as a function of the threshold: τ(t)/τ_final in the published code."""
        return threshold / final

    def sample_noise(self, key: Key[Array, ""], scores: Tree) -> dict[str, Any] | None:
        """Draws for the ``noise`` argument of `masks` in training; None for deterministic rules."""
        del key, scores
        return None

    def init_scores(
        self,
        kernels: Tree,
        *,
        init: str = "constant",
        scale: float | None = None,
        key: Key[Array, ""] | None = None,
    ) -> dict[str, Any]:
        """Scores of the shapes and dtypes of ``kernels``; {} for a rule without scores.

        Args:
          kernels: nested dict of (in, out) arrays, or of anything with a shape and a dtype.
          init: "constant" (every score is ``scale``), "uniform" in [-scale, scale], or "kaiming",
            uniform within ±1/sqrt(length of the first axis). The last two need ``key``.
          scale: None = the published value of the rule.
          key: a jax.random key.
        """
        if not self.has_scores:
            return {}
        value = self.default_score_scale if scale is None else scale
        leaves, rebuild = split_leaves(kernels)
        if init == "constant":
            return rebuild([jnp.full(w.shape, value, w.dtype) for w in leaves])
        if init not in ("uniform", "kaiming"):
            raise ValueError(f"score init is {init!r}; it must be constant, uniform or kaiming")
        if key is None:
            raise ValueError(f"score init {init!r} is random and needs a key")
        bounds = [value if init == "uniform" else w.shape[0] ** -0.5 for w in leaves]
        keys = jax.random.split(key, len(leaves))
        return rebuild(
            [
                jax.random.uniform(k, w.shape, w.dtype, -bound, bound)
                for k, w, bound in zip(keys, leaves, bounds, strict=True)
            ]
        )


# The published threshold rules never leave a matrix with less than this density.
PUBLISHED_FLOOR = 0.005


def floored(
    cuts: Sequence[Any], scores: Sequence[Float[Array, "..."]], floor: float
) -> list[Float[Array, ""]]:
    """Cuts, lowered where fewer than k = ``int(floor·n) + 1`` scores of a matrix lie above.

    The lowered cut is the (n − k)-th smallest score (at least the first): k scores lie strictly
    above it if none are tied, as in the published code.

    Args:
      cuts: one scalar per matrix.
      scores: one float array per matrix.
      floor: smallest density of a matrix.
    """
    least = [int(floor * s.size) + 1 for s in scores]
    kept = [count_true(s > c) for s, c in zip(scores, cuts, strict=True)]
    wide = jnp.result_type(jnp.float32, *scores)  # half precision may round a cut up to a score
    own = jnp.stack([jnp.asarray(c, wide) for c in cuts])
    few = jnp.stack(kept) < jnp.asarray(least)

    def lowered() -> jax.Array:
        counts = [min(k, s.size - 1) for k, s in zip(least, scores, strict=True)]
        floors = jnp.stack(top_k_cuts(scores, counts)).astype(own.dtype)
        return jnp.where(few, floors, own)

    def unchanged() -> jax.Array:
        return own

    # A matrix almost never falls to 0.5%, and a selection costs up to 5 rounds of 8 counts, the
    # comparison one. The branches return scalars: XLA copies masks that leave a conditional.
    return list(cast(jax.Array, jax.lax.cond(jnp.any(few), lowered, unchanged)))


def top_v(
    importance: Tree, density: Threshold, rule: Rule, *, published_cut: bool = False
) -> dict[str, Any]:
    """Masks of the ``int(density · n)`` largest entries: Top_v of Sanh et al. 2020, eq. 1.

    Ranked per matrix, over all matrices, or within runs, as the scope of the rule says; by "type",
    per matrix with the counts of :func:`counts_by_type`.

    Args:
      importance: nested dict of float arrays.
      density: Python float or traced scalar.
      rule: gives the scope, and the final density so that its count is exact in float32.
      published_cut: global scope only, the cut of the published code: ``int(v·n) + 1`` kept,
        nothing pruned at v = 1, all ties at the cut pruned, and at least 0.5% of every matrix kept,
        see :func:`floored`.
    """
    leaves, rebuild = split_leaves(jax.lax.stop_gradient(importance))
    if rule.scope != "local" and len({leaf.dtype.itemsize > 4 for leaf in leaves}) > 1:
        leaves = [leaf.astype(jnp.result_type(float)) for leaf in leaves]  # keys of 64 bits
    if isinstance(rule.scope, NofM):
        n, m = rule.scope.n, rule.scope.m
        # The density of the other matrices may end below n/m; runs follow it down to n and stay.
        count = jnp.where(
            is_final(density, rule.final_density),
            n,
            jnp.clip(num_kept(threshold_value(density), m), n, m),
        )
        return rebuild([largest_of_runs(x, count, m) for x in leaves])
    if isinstance(rule.scope, ByWeight):
        covers = dict(rule.scope.covers)
        each = [covers[path] for path in flatten(importance)]
        weights = sum(n * leaf.size for n, leaf in zip(each, leaves, strict=True))
        counts = budget_counts(leaves, each, rule.num_kept(density, weights))
        return rebuild(top_k_masks(leaves, counts))
    total = sum(leaf.size for leaf in leaves)
    if rule.scope == "local":
        counts = [rule.num_kept(density, leaf.size) for leaf in leaves]
        return rebuild(top_k_masks(leaves, counts))
    if rule.scope == "type":
        flat = flatten(jax.lax.stop_gradient(importance))
        by_path = counts_by_type(flat, lambda size: rule.num_kept(density, size))
        return rebuild(top_k_masks(leaves, [by_path[path] for path in flat]))
    count = rule.num_kept(density, total)
    if not published_cut:
        return rebuild(top_k_masks(leaves, [count], joint=True))
    count = jnp.where(threshold_value(density) >= 1, total, jnp.minimum(count + 1, total - 1))
    cuts = floored(top_k_cuts(leaves, [count], joint=True), leaves, PUBLISHED_FLOOR)
    return rebuild([x > cut for x, cut in zip(leaves, cuts, strict=True)])
