# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""`Pruning`: a rule, the kernels it applies to, and the structure of their scores."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from numbers import Real
from typing import Any

import chex  # pyright: ignore[reportMissingTypeStubs]
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Key

from mpjax.errors import InputError
from mpjax.pruning.axes import Axes, given_axes, known
from mpjax.pruning.cuts import each_scope, like_layers
from mpjax.pruning.density import mask_density, missed_density
from mpjax.pruning.explicit import inferred
from mpjax.pruning.granularities import Group
from mpjax.pruning.layout import Flat, Layout, lay_out
from mpjax.pruning.rules import Rule
from mpjax.pruning.spreading import layers_of, of_layers
from mpjax.pruning.structures import ELEMENT, Structure
from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.topk.num_kept import Threshold
from mpjax.pruning.trees import Tree, Where, leaves_by_keys, names, pick, replace


@dataclass(frozen=True)
class Pruning:
    """A pruning rule, the kernels it applies to, and the structure of their scores.

    Methods are pure functions over pytrees of arrays: nested dicts, lists, tuples, dataclasses,
    `nnx.State`, NNX and Equinox modules. A pytree of parameters keeps its structure. Scores and
    masks lie in dicts at the paths of the kernels, without other leaves; lists keep their length,
    with None. Scores are checked against the parameters when a function is traced, so a compiled
    step pays nothing for it.

    Attributes:
      rule: turns scores into masks; see `make_rule`.
      where: picks the prunable kernels: a regular expression for the whole ``/``-joined path, or a
        predicate on (path, leaf).
      structure: weights per score; one by default.
      dense_gradient: weights outside the mask get the gradient ∂L/∂(W∘M), too, and go on learning.
      axes: roles of the axes of kernels, ``stack``, ``input`` or ``output``, by a regular
        expression for their paths; the others are guessed, see `guess_axes`. The layers of a stack
        (`nn.scan`) are pruned as matrices of their own.

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
    axes: Mapping[str, str | Sequence[str]] | tuple[tuple[str, Axes], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.rule, Rule):  # pyright: ignore
            raise InputError(
                f"rule is {self.rule!r}; make one, as make_rule('movement', final=0.1)"
            )
        if not isinstance(self.structure, Structure):  # pyright: ignore
            raise InputError(
                f"structure is {self.structure!r}; give a Structure of parts, as "
                "Structure((Part('.*', NofM(2, 4)),))"
            )
        object.__setattr__(self, "axes", given_axes(self.axes))

    def init_scores(
        self,
        params: Tree,
        key: Key[Array, ""] | None = None,
        *,
        init: str = "constant",
        scale: float | None = None,
    ) -> Tree:
        """Scores before the first step, in the dtype of the kernels; {} for a rule without scores.

        Args:
          params: pytree of parameters.
          key: jax.random key, for a random ``init``.
          init: "constant", "uniform" or "kaiming", see `Rule.init_scores`; or "magnitude",
            ``scale · |W| / mean |W|`` of the matrix: a cut before the scores have learned anything
            is that of magnitude.
          scale: value, half-width or factor; None = the published value of the rule, 1 for
            "magnitude".

        Raises:
          ValueError: ``where`` matches nothing, or an unknown ``init``.
          InputError: the structure does not divide a kernel, or its axes are unknown.
        """
        layout = self.layout(params)
        like = like_layers(layout.groups, layout.like_scores())

        def sizes(kernels: Flat, key: Any) -> Flat:
            del key
            value = 1.0 if scale is None else scale
            found, like = changed(layout, kernels=kernels).importance(), layout.like_scores()

            def made(group: Group, ranked: jax.Array) -> jax.Array:
                each = map(jnp.abs, layers_of(group, ranked))
                return of_layers(group, [value * size / _positive(size.mean()) for size in each])

            return OrderedDict(
                (path, made(g, found[path]).astype(like[path].dtype))
                for path, g in layout.groups.items()
            )

        def arrays(kernels: Flat, key: Any) -> Flat:
            del kernels
            layers = iter(self.rule.init_scores(like, init=init, scale=scale, key=key).values())
            return OrderedDict(
                (path, of_layers(group, [next(layers) for _ in range(group.layers)]))
                for path, group in layout.groups.items()
            )

        if not self.rule.has_scores:
            return {}
        made = inferred(sizes if init == "magnitude" else arrays, self._places(layout))
        return layout.scores(made(layout.kernels, key))

    def prune(
        self,
        params: Tree,
        scores: Tree,
        threshold: Threshold,
        noise: Tree | None = None,
        *,
        kept: Tree | None = None,
    ) -> tuple[Tree, Tree]:
        """``params`` with every prunable kernel multiplied by its mask, and the masks.

        Differentiable in ``params`` and ``scores``: masked weights get no gradient, and
        ∂L/∂S = ∂L/∂(W∘M) ∘ W (Sanh et al. 2020, eq. 2), summed over the weights of a score.

        Args:
          params: pytree of parameters.
          scores: from `init_scores`, trained.
          threshold: density or τ, as the rule takes it: a Python float or a traced scalar.
          noise: draws of `sample_noise` in training; None = deterministic, for evaluation and
            export.
          kept: marks of `keep` from an earlier step, which stand for the cut at ``threshold``.

        Returns:
          The parameters, and for every prunable kernel a mask of its shape, boolean or a float gate
          in [0, 1].

        Raises:
          InputError: scores or marks that do not fit the parameters; names path and shapes. A
            threshold out of range, given as a Python or NumPy number.
        """
        self._check_threshold(threshold)
        layout = self.layout(params)
        own = self._checked(layout, scores)
        draws = None if noise is None else layout.read(noise)
        marks = None if kept is None else _checked_marks(layout, kept)

        def masked(
            kernels: Flat, scores: Flat, threshold: Threshold, noise: Flat | None, kept: Flat | None
        ) -> tuple[Flat, Flat]:
            return self._masked(changed(layout, kernels=kernels), scores, threshold, noise, kept)

        like = (layout.kernels, layout.kernels)
        pruned, masks = inferred(masked, like)(layout.kernels, own, threshold, draws, marks)
        by_keys = {layout.keys[path]: weights for path, weights in pruned.items()}
        return replace(params, by_keys), layout.like_kernels(masks)

    def _masked(
        self,
        layout: Layout,
        scores: Flat,
        threshold: Threshold,
        noise: Flat | None,
        kept: Flat | None,
    ) -> tuple[Flat, Flat]:
        """Masked kernels, and the masks in their shapes."""
        if kept is None:
            masks = self._masks(layout, scores, threshold, noise)
        else:
            masks = self.rule.masks_of_kept(scores, kept, noise)
        gates = layout.expand(self.rule.straight_through_masks(scores, OrderedDict(masks)))
        expanded = layout.expand(masks)
        kernels = layout.kernels.items()
        return (
            OrderedDict((path, self._multiply(w, gates[path])) for path, w in kernels),
            OrderedDict((path, expanded[path]) for path in layout.kernels),
        )

    def _multiply(self, weights: jax.Array, gate: jax.Array) -> jax.Array:
        gate = gate.astype(weights.dtype)
        if not self.dense_gradient:
            return weights * gate
        # 0 in the forward pass; in the backward pass it completes the gradient of the weights.
        outside = weights * jax.lax.stop_gradient(1 - gate)
        return weights * gate + (outside - jax.lax.stop_gradient(outside))

    def _masks(
        self, layout: Layout, scores: Flat, threshold: Threshold, noise: Flat | None
    ) -> dict[str, Any]:
        """Masks in the shapes of the scores, by path; see `Rule.masks`."""

        def cut(rule: Rule, weights: Tree, scores: Tree, noise: Tree | None) -> Tree:
            return rule.masks(weights, scores, threshold, noise)

        return each_scope(self.rule, layout.groups, cut, layout.importance(), scores, noise)

    def keep(self, params: Tree, scores: Tree, threshold: Threshold) -> Tree:
        """Marks of the scores that are kept, boolean, in their shapes (of kernels without scores).

        Args and errors as in `prune`. To hold masks, hand them to `prune` at later steps.
        """
        self._check_threshold(threshold)
        layout = self.layout(params)

        def marks(kernels: Flat, scores: Flat, threshold: Threshold) -> Flat:
            def cut(rule: Rule, weights: Tree, scores: Tree) -> Tree:
                return rule.kept(weights, scores, threshold)

            weights = jax.lax.stop_gradient(changed(layout, kernels=kernels).importance())
            return OrderedDict(each_scope(self.rule, layout.groups, cut, weights, scores))

        own = self._checked(layout, scores)
        like = own if self.rule.has_scores else self._places(layout)
        return layout.scores(inferred(marks, like)(layout.kernels, own, threshold))

    def covers(self, params: Tree) -> Tree:
        """Weights that one score covers, an int at the path of every score array."""
        layout = self.layout(params)
        return layout.scores({path: group.covers for path, group in layout.groups.items()})

    def density_above(self, params: Tree, scores: Tree, threshold: Any) -> Float[Array, ""]:
        """Fraction of the weights whose scores clear a threshold, whatever the density asked for.

        For rules that can be steered; see `Rule.kept_by_threshold`.
        """
        layout = self.layout(params)
        own = self._checked(layout, scores)
        marks = inferred(self.rule.kept_by_threshold, own)(own, threshold)
        covers, dtype = {p: g.covers for p, g in layout.groups.items()}, jnp.result_type(float)
        kept = [count_true(marks[p]).astype(dtype) * c for p, c in covers.items()]
        total = sum(marks[path].size * c for path, c in covers.items())
        return jnp.sum(jnp.stack(kept)) / total

    def sample_noise(self, key: Key[Array, ""], scores: Tree) -> Tree | None:
        """Uniform draws of the shapes of the scores for a stochastic rule, else None."""
        draws = jax.eval_shape(self.rule.sample_noise, key, scores)
        return inferred(self.rule.sample_noise, None if draws is None else scores)(key, scores)

    def penalty(self, scores: Tree) -> Float[Array, ""]:
        """R(S) = mean over score matrices of (factor of its part · penalty of the matrix) ≥ 0.

        Multiplied by λ in the loss; 0 for a rule without a penalty. A stack of layers counts as one
        matrix.
        """
        return inferred(self._penalty)(scores)

    def _penalty(self, scores: Tree) -> Float[Array, ""]:
        by_keys = leaves_by_keys(scores)
        factors = [self.structure.penalty_factor(path) for path in names(by_keys)]
        if set(factors) <= {1.0}:
            return self.rule.penalty(scores)
        # Penalties are means over arrays: one call per factor, weighted by its share of the arrays.
        leaves = list(by_keys.values())
        terms = [
            factor * n / len(leaves) * self.rule.penalty(
                [leaf for leaf, own in zip(leaves, factors, strict=True) if own == factor]
            )
            for factor, n in Counter(factors).items()
        ]  # fmt: skip
        return sum(terms[1:], start=terms[0])

    def density(self, masks: Tree) -> Float[Array, ""]:
        """Kept / all weights over the masks of `prune`; a gate above 0 counts as kept."""
        return mask_density(masks)

    def density_note(self, params: Tree) -> str | None:
        """Sentence for parameters of `finalize` that miss the rule's density; None for a hit.

        >>> from mpjax.pruning import Block, Part, make_rule
        >>> columns = Structure((Part(".*", Block(None, 1)),))
        >>> pruning = Pruning(make_rule("magnitude", final=0.4), structure=columns)
        >>> print(*pruning.density_note({"kernel": jnp.eye(4)}).split(": "), sep="\\n")
        the density is 25.00%, where 40.00% was asked for
        a score covers 4 weights, and is kept whole
        """
        asked = self.rule.final_density
        if asked is None or asked == 1:  # nothing is to be cut, as by L0 with a λ
            return None
        kept = sum(int(np.count_nonzero(np.asarray(w))) for w in pick(params, self.where).values())
        return missed_density(asked, self.groups(params), kept)

    def finalize(self, variables: Tree, threshold: Threshold, *, kept: Tree | None = None) -> Tree:
        """Plain parameters without scores: masks applied, gates without noise.

        Args:
          variables: ``{"params": ..., "scores": ...}``.
          threshold: as in `prune`; the final one for a finished run.
          kept: as in `prune`.

        Raises:
          InputError: ``variables`` have no ``params``, and as `prune`.
        """
        if "params" not in variables:
            raise InputError('finalize takes variables, {"params": ..., "scores": ...}')
        params = variables["params"]
        pruned, masks = self.prune(params, variables.get("scores", {}), threshold, kept=kept)

        # -0 becomes +0. The sign of a pruned weight carries nothing, and costs a packed model one
        # random bit per weight: at 6% density more than the mask (0.33 bits). And 0 * inf is NaN.
        def positive_zeros(weights: jax.Array, mask: jax.Array) -> jax.Array:
            return jnp.where((weights == 0) | (mask == 0), jnp.zeros_like(weights), weights)

        kernels = leaves_by_keys(pruned)
        masked = leaves_by_keys(masks).items()
        return replace(pruned, {keys: positive_zeros(kernels[keys], mask) for keys, mask in masked})

    def groups(self, params: Tree) -> list[Group]:
        """Score arrays of the parameters; a rule without scores ranks weights in their place.

        Raises:
          ValueError: ``where`` matches nothing.
          InputError: the structure does not divide a kernel, or its axes are unknown.
        """
        return list(self.layout(params).groups.values())

    def score_sizes(self, params: Tree) -> tuple[int, ...]:
        """Numbers that a density is taken of: scores of each matrix, of all, and weights of all.

        N:M groups are left out: their count per run is fixed.
        """
        free = [group for group in self.groups(params) if group.runs is None]
        sizes = [group.size for group in free for _ in range(group.layers)]
        covers = [group.covers for group in free for _ in range(group.layers)]
        weights = sum(n * c for n, c in zip(sizes, covers, strict=True))
        return tuple(sorted({*sizes, sum(sizes), weights}))

    def layout(self, params: Tree) -> Layout:
        """Kernels, score arrays and their places; errors as of :meth:`groups`."""
        assert isinstance(self.axes, tuple)  # since __post_init__
        layout = lay_out(params, self.where, self.structure, self.axes)
        if self.rule.scope != "global":
            for group in layout.groups.values():
                for path, kernel, _ in group.kernels:
                    if len(kernel.shape) > 2:  # a stack has a cut for every layer
                        known(path, kernel)
        return layout

    def _check_threshold(self, threshold: Threshold) -> None:
        """Raises `InputError` for a number out of the rule's range; values on a device pass."""
        if isinstance(threshold, str):
            raise InputError(f"the threshold is the text {threshold!r}; give a number")
        shape = None if threshold is None else getattr(threshold, "shape", ())  # pyright: ignore
        if shape != ():
            found = "None" if shape is None else f"of shape {shape}"
            raise InputError(f"the threshold is {found}; give a number, or an array of no axes")
        if self.rule.name and isinstance(threshold, Real):  # replays have a cut on raw scores
            value = float(threshold)
            density = self.rule.is_density or self.rule.final_density is not None
            if not (0 < value <= 1 if density else 0 <= value < 1):
                takes = (
                    "a density, above 0 and at most 1" if density else "τ, at least 0 and below 1"
                )
                raise InputError(f"the threshold is {value:g}; {self.rule.name} takes {takes}")

    def _places(self, layout: Layout) -> OrderedDict[str, Any]:
        """Kernels where they have one score per weight, for `inferred`; other scores are whole."""
        return OrderedDict(
            (path, layout.kernels[path] if group.per_weight else PartitionSpec())
            for path, group in layout.groups.items()
        )

    def _checked(self, layout: Layout, scores: Tree) -> Flat:
        """Scores by path, whatever mappings they came in (a FrozenDict, say)."""
        expected = layout.like_scores() if self.rule.has_scores else OrderedDict[str, Any]()
        found = layout.read(scores)
        every = leaves_by_keys(scores)
        extra = [keys for keys in every if keys not in layout.places.values() or not expected]
        try:
            chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
        except (AssertionError, ValueError):
            pass
        else:
            if not extra:
                return found
        others = dict(zip(names(extra), (every[keys] for keys in extra), strict=True))
        raise InputError(_difference(expected, dict(found) | others))


def _checked_marks(layout: Layout, kept: Tree) -> Flat:
    """Marks by path, one array of marks for every score array."""
    marks = layout.read(kept)
    for path, group in layout.groups.items():
        fits = path in marks and jnp.shape(marks[path]) == tuple(group.shape)
        if fits and jnp.result_type(marks[path]) != jnp.bool_:
            raise InputError(
                f"kept has {jnp.result_type(marks[path])} for {path}, expected bool; take marks "
                "from Pruning.keep of the same parameters"
            )
        if not fits:
            have = f"marks of shape {jnp.shape(marks[path])}" if path in marks else "no marks"
            raise InputError(
                f"kept has {have} for {path}, expected shape {tuple(group.shape)}; take them from "
                "Pruning.keep of the same parameters"
            )
    return marks


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


def _positive(mean: jax.Array) -> jax.Array:
    """Mean of sizes to divide by; 1 for a matrix of zeros."""
    return jnp.where(mean > 0, mean, jnp.ones_like(mean))
