"""What is pruned, how, and by which pieces: one value for every function that needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp

from mpjax.errors import InputError
from mpjax.pruning.density import mask_density
from mpjax.pruning.rules import Rule
from mpjax.pruning.structures import ELEMENT, Structure
from mpjax.pruning.topk.num_kept import Density
from mpjax.pruning.trees import Tree, Where, flatten, merge, select


@dataclass(frozen=True)
class Pruning:
    """A pruning rule, the kernels it applies to, and the structure of their scores.

    All methods are pure functions over nested dicts of arrays. They check the scores that they are
    given against the parameters, when traced.

    Attributes:
      rule: turns scores into masks; see `make_rule`.
      where: picks the prunable kernels: a regular expression that the whole ``/``-joined path must
        match, or a predicate on (path, leaf).
      structure: weights that one score decides about; by default one.

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

    def init_scores(
        self,
        params: Tree,
        key: jax.Array | None = None,
        *,
        init: str = "constant",
        scale: float | None = None,
    ) -> dict[str, Any]:
        """Scores before the first step, in the dtype of the kernels; {} for a rule without scores.

        Args:
          params: nested dict of parameters.
          key: jax.random key, for a random ``init``.
          init: "constant", "uniform" or "kaiming"; see `Rule.init_scores`.
          scale: value or half-width; the rule's published one unless given.

        Raises:
          ValueError: ``where`` matches nothing, or an unknown ``init``.
          InputError: the structure does not divide a kernel.
        """
        return self.rule.init_scores(self._expected(params), init=init, scale=scale, key=key)

    def prune(
        self, params: Tree, scores: Tree, threshold: Density, noise: Tree | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """``params`` with every prunable kernel multiplied by its mask, and the masks.

        Differentiable in ``params`` and ``scores``: masked weights get no gradient, and
        ∂L/∂S = ∂L/∂(W∘M) ∘ W, summed over the weights of a score (Sanh et al. 2020, eq. 3).

        Args:
          params: nested dict of parameters.
          scores: as `init_scores` makes them.
          threshold: density or τ, as the rule takes it: a Python float or a traced scalar.
          noise: draws of `sample_noise` in training; None = deterministic, as evaluated and
            exported.

        Returns:
          The parameters, and for every prunable kernel a mask of its shape: boolean, or a float
          gate in [0, 1].

        Raises:
          InputError: scores that do not belong to the parameters; names path and shapes.
        """
        self._check(params, scores)
        kernels = select(params, self.where)
        masks = self.structure.masks(self.rule, kernels, scores, threshold, noise)
        gates = self.structure.expand(self.rule.straight_through_masks(scores, masks), kernels)
        pruned = jax.tree.map(lambda w, gate: w * gate.astype(w.dtype), kernels, gates)
        return merge(params, pruned), self.structure.expand(masks, kernels)

    def sample_noise(self, key: jax.Array, scores: Tree) -> dict[str, Any] | None:
        """Uniform draws like the scores for a stochastic rule; None for the others."""
        return self.rule.sample_noise(key, scores)

    def penalty(self, scores: Tree) -> jax.Array:
        """R(S) ≥ 0, a scalar: the term that λ multiplies in the loss; 0 for a rule without one."""
        return self.structure.penalty(self.rule, scores)

    def density(self, masks: Tree) -> jax.Array:
        """Kept / all weights over the masks of `prune`, a scalar; a gate above 0 counts as kept."""
        return mask_density(masks)

    def finalize(self, variables: Tree, threshold: Density) -> dict[str, Any]:
        """Plain parameters without scores: masks applied, gates without noise.

        A pruned weight is +0 whatever its sign was: the signs mean nothing, and would take most of
        the bytes of a packed model.

        Args:
          variables: ``{"params": ..., "scores": ...}``.
          threshold: as in `prune`; the final one of a finished run.
        """
        pruned, _ = self.prune(variables["params"], variables.get("scores", {}), threshold)
        return jax.tree.map(lambda w: jnp.where(w == 0, jnp.zeros_like(w), w), pruned)

    def score_sizes(self, params: Tree) -> tuple[int, ...]:
        """Sizes of all sets of scores that compete for one count: each array, or all together.

        N:M runs keep a fixed count and are left out.
        """
        groups = self.structure.groups(select(params, self.where))
        sizes = [group.size for group in groups if group.runs is None]
        return tuple(sorted({*sizes, sum(sizes)}))

    def _expected(self, params: Tree) -> dict[str, Any]:
        """Shape and dtype of the scores."""
        return self.structure.like_scores(select(params, self.where))

    def _check(self, params: Tree, scores: Tree) -> None:
        expected = self._expected(params) if self.rule.has_scores else {}
        try:
            chex.assert_trees_all_equal_shapes_and_dtypes(dict(scores), expected)
        except (AssertionError, ValueError):
            raise InputError(_difference(flatten(expected), flatten(scores))) from None


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """The first place in which scores are not what the parameters ask for, as a sentence."""
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
