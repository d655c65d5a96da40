# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""`Pruning`: a rule, the kernels it applies to, and the structure of their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import chex  # pyright: ignore[reportMissingTypeStubs]
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Key

from mpjax.errors import InputError
from mpjax.pruning.density import mask_density
from mpjax.pruning.explicit import inferred
from mpjax.pruning.rules import Rule
from mpjax.pruning.structures import ELEMENT, Structure
from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.topk.num_kept import Threshold
from mpjax.pruning.trees import Tree, Where, flatten, map_leaves, merge, select, unflatten


@dataclass(frozen=True)
class Pruning:
    """A pruning rule, the kernels it applies to, and the structure of their scores.

    Methods are pure functions over nested dicts of arrays. Scores are checked against the
    parameters when a function is traced, so a compiled step pays nothing for it.

    Attributes:
      rule: turns scores into masks; see `make_rule`.
      where: picks the prunable kernels: a regular expression for the whole ``/``-joined path, or a
        predicate on (path, leaf).
      structure: weights per score; one by default.
      dense_gradient: weights outside the mask get the gradient ∂L/∂(W∘M), too, and go on learning.

    >>> import jax.numpy as jnp
    >>> from mpjax.pruning.rules import make_rule
    >>> pruning = Pruning(make_rule("magnitude", final=0.5), where=".*/kernel")
    >>> params = {"dense": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.ones(2)}}
    >>> scores = pruning.init_scores(params)  # magnitude has none
    >>> pruned, masks = pruning.prune(params, scores, 0.5)
    >>> pruned["dense"]["kernel"].tolist(), masks["dense"]["kernel"].tolist()
    ([[0.0, -3.0]], [[False, True]])
    """

    rule: Rule
    where: Where = r".*kernel"
    structure: Structure = ELEMENT
    dense_gradient: bool = False

    def init_scores(
        self,
        params: Tree,
        key: Key[Array, ""] | None = None,
        *,
        init: str = "constant",
        scale: float | None = None,
    ) -> dict[str, Any]:
        """Scores before the first step, in the dtype of the kernels; {} for a rule without scores.

        Args:
          params: nested dict of parameters.
          key: jax.random key, for a random ``init``.
          init: "constant", "uniform" or "kaiming"; see `Rule.init_scores`.
          scale: value or half-width; None = the published value of the rule.

        Raises:
          ValueError: ``where`` matches nothing, or an unknown ``init``.
          InputError: the structure does not divide a kernel.
        """

        def scores(params: Tree, key: Any) -> dict[str, Any]:
            return self.rule.init_scores(self._expected(params), init=init, scale=scale, key=key)

        places = self._places(params) if self.rule.has_scores else {}
        return inferred(scores, places)(params, key)

    def prune(
        self,
        params: Tree,
        scores: Tree,
        threshold: Threshold,
        noise: Tree | None = None,
        *,
        kept: Tree | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """``params`` with every prunable kernel multiplied by its mask, and the masks.

        Differentiable in ``params`` and ``scores``: masked weights get no gradient, and
        ∂L/∂S = ∂L/∂(W∘M) ∘ W (Sanh et al. 2020, eq. 2), summed over the weights of a score.

        Args:
          params: nested dict of parameters.
          scores: from `init_scores`, trained.
          threshold: density or τ, as the rule takes it: a Python float or a traced scalar.
          noise: draws of `sample_noise` in training; None = deterministic, for evaluation and
            export.
          kept: marks of `keep` from an earlier step, which stand for the cut at ``threshold``.

        Returns:
          The parameters, and for every prunable kernel a mask of its shape: boolean, or a float
          gate in [0, 1].

        Raises:
          InputError: scores that do not fit the parameters; names path and shapes.
        """
        scores = self._checked(params, scores)
        noise = None if noise is None else unflatten(flatten(noise))
        kernels = select(params, self.where)
        masked = inferred(self._masked, (kernels, kernels))
        pruned, masks = masked(kernels, scores, threshold, noise, kept)
        return merge(params, pruned), masks

    def _masked(
        self, kernels: Tree, scores: Tree, threshold: Any, noise: Tree | None, kept: Tree | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Masked kernels and masks, both like the kernels."""
        if kept is None:
            masks = self.structure.masks(self.rule, kernels, scores, threshold, noise)
        else:
            masks = self.rule.masks_of_kept(scores, kept, noise)
        gates = self.structure.expand(self.rule.straight_through_masks(scores, masks), kernels)

        def multiply(weights: jax.Array, gate: jax.Array) -> jax.Array:
            gate = gate.astype(weights.dtype)
            if not self.dense_gradient:
                return weights * gate
            # 0 in the forward pass; in the backward pass it completes the gradient of the weights.
            outside = weights * jax.lax.stop_gradient(1 - gate)
            return weights * gate + (outside - jax.lax.stop_gradient(outside))

        return map_leaves(multiply, kernels, gates), self.structure.expand(masks, kernels)

    def keep(self, params: Tree, scores: Tree, threshold: Threshold) -> dict[str, Any]:
        """Marks of the scores that are kept, boolean, in their shapes (of kernels without scores).

        Args and errors as in `prune`. To hold masks, hand them to `prune` at later steps.
        """
        scores = self._checked(params, scores)
        kernels = jax.lax.stop_gradient(select(params, self.where))

        def marks(kernels: Tree, scores: Tree, threshold: Threshold) -> dict[str, Any]:
            return self.structure.kept(self.rule, kernels, scores, threshold)

        like = scores if self.rule.has_scores else self._places(params)
        return inferred(marks, like)(kernels, scores, threshold)

    def covers(self, params: Tree) -> dict[str, Any]:
        """Weights that one score covers, an int at the path of every score array."""
        return self.structure.covers(select(params, self.where))

    def density_above(self, params: Tree, scores: Tree, threshold: Any) -> Float[Array, ""]:
        """Fraction of the weights whose scores clear a threshold, whatever the density asked for.

        For rules that can be steered; see `Rule.kept_by_threshold`.
        """
        scores = self._checked(params, scores)
        covers, dtype = flatten(self.covers(params)), jnp.result_type(float)
        marks = flatten(inferred(self.rule.kept_by_threshold, scores)(scores, threshold))
        kept = [count_true(marks[p]).astype(dtype) * c for p, c in covers.items()]
        total = sum(marks[path].size * c for path, c in covers.items())
        return jnp.sum(jnp.stack(kept)) / total

    def sample_noise(self, key: Key[Array, ""], scores: Tree) -> dict[str, Any] | None:
        """Uniform draws of the shapes of the scores for a stochastic rule, else None."""
        draws = jax.eval_shape(self.rule.sample_noise, key, scores)
        return inferred(self.rule.sample_noise, None if draws is None else scores)(key, scores)

    def penalty(self, scores: Tree) -> Float[Array, ""]:
        """R(S) ≥ 0, multiplied by λ in the loss; 0 for a rule without a penalty."""

        def penalty(scores: Tree) -> Float[Array, ""]:
            return self.structure.penalty(self.rule, scores)

        return inferred(penalty)(scores)

    def density(self, masks: Tree) -> Float[Array, ""]:
        """Kept / all weights over the masks of `prune`; a gate above 0 counts as kept."""
        return mask_density(masks)

    def finalize(
        self, variables: Tree, threshold: Threshold, *, kept: Tree | None = None
    ) -> dict[str, Any]:
        """Plain parameters without scores: masks applied, gates without noise.

        Args:
          variables: ``{"params": ..., "scores": ...}``.
          threshold: as in `prune`; the final one for a finished run.
          kept: as in `prune`.
        """
        scores = variables.get("scores", {})
        pruned, _ = self.prune(variables["params"], scores, threshold, kept=kept)

        # -0 becomes +0. The sign of a pruned weight carries nothing, and costs a packed model one
        # random bit per weight: at 6% density more than the mask (0.33 bits).
        def positive_zeros(weights: jax.Array) -> jax.Array:
            return jnp.where(weights == 0, jnp.zeros_like(weights), weights)

        return map_leaves(positive_zeros, pruned)

    def score_sizes(self, params: Tree) -> tuple[int, ...]:
        """Numbers that a density is taken of: scores of each array, of all, and weights of all.

        N:M groups are left out: their count per run is fixed.
        """
        groups = self.structure.groups(select(params, self.where))
        free = [group for group in groups if group.runs is None]
        sizes = [group.size for group in free]
        return tuple(sorted({*sizes, sum(sizes), sum(g.size * g.covers for g in free)}))

    def _expected(self, params: Tree) -> dict[str, Any]:
        """Shape and dtype of the scores."""
        return self.structure.like_scores(select(params, self.where))

    def _places(self, params: Tree) -> dict[str, Any]:
        """Kernels where they have one score per weight, for `inferred`; other scores are whole."""
        kernels = select(params, self.where)
        groups, flat = self.structure.groups(kernels), flatten(kernels)
        fine = {g.path for g in groups if g.path in flat and g.covers == 1}
        return unflatten(
            {g.path: flat[g.path] if g.path in fine else PartitionSpec() for g in groups}
        )

    def _checked(self, params: Tree, scores: Tree) -> dict[str, Any]:
        """Scores as nested dicts, whatever mappings they came in (a FrozenDict, say)."""
        expected = flatten(self._expected(params) if self.rule.has_scores else {})
        found = flatten(scores)
        try:
            chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
        except (AssertionError, ValueError):
            raise InputError(_difference(expected, found)) from None
        return unflatten(found)


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """First score array that does not fit the parameters, as a sentence."""
    for path, like in expected.items():
        if path not in found:
            have = f"they have {', '.join(list(found)[:3])}" if found else "they are empty"
            return (
                f"scores have no {path}, expected shape {tuple(like.shape)}; {have}. Make them "
                "with Pruning.init_scores(params)"
            )
        shape, dtype = jnp.shape(found[path]), jnp.result_type(found[path])
        if shape != tuple(like.shape):
            turned = " (transposed?)" if shape == tuple(like.shape)[::-1] else ""
            return f"scores {path} have shape {shape}, expected {tuple(like.shape)}{turned}"
        if dtype != like.dtype:
            return f"scores {path} have dtype {dtype}, expected {like.dtype}, that of the kernel"
    extra = next(path for path in found if path not in expected)
    return (
        f"scores {extra} of shape {jnp.shape(found[extra])} belong to no kernel that is pruned; "
        f"expected {', '.join(list(expected)[:3]) or 'no scores'}"
    )
