# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Structures: granularity by kernel, and arrays between the shapes of scores and of kernels.

Rules see arrays of the shapes of the scores only. Here these are broadcast over the kernels, so
that differentiation sums the gradient of a score over the weights it covers (Lagunas et al. 2021,
arXiv 2109.04838, for blocks and for scores shared by kernels).
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from mpjax.errors import InputError
from mpjax.pruning.granularities import ByWeight, Element, Granularity, Group, NofM, Shape
from mpjax.pruning.trees import Tree, flatten, unflatten

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule


@dataclass(frozen=True)
class Part:
    """Granularity of the kernels whose path matches, and the factor of λ for their scores.

    Attributes:
      where: regular expression for the whole path of a kernel, and of the scores it gets.
      granularity: weights per score.
      penalty: factor of λ.
    """

    where: str
    granularity: Granularity
    penalty: float = 1.0

    def matches(self, path: str) -> bool:
        return re.fullmatch(self.where, path) is not None


@dataclass(frozen=True)
class Structure:
    """Granularity of every kernel: that of the first part that matches, else one score per weight.

    >>> from mpjax.pruning.granularities import Block
    >>> structure = Structure((Part("attention/.*", Block(2, 2)),))
    >>> kernels = {"attention": {"kernel": jnp.ones((4, 6))}, "ffn": {"kernel": jnp.ones((6, 2))}}
    >>> jax.tree.map(lambda s: s.shape, structure.like_scores(kernels))
    {'attention': {'kernel': (2, 3)}, 'ffn': {'kernel': (6, 2)}}
    """

    parts: tuple[Part, ...] = ()

    def groups(self, kernels: Tree) -> list[Group]:
        """Score arrays of a nested dict of kernels (or of anything with a shape).

        Raises:
          InputError: the granularity of a part does not divide a kernel.
        """
        shares: list[dict[str, Shape]] = [{} for _ in (*self.parts, None)]
        for path, kernel in flatten(kernels).items():
            shares[self._part(path)][path] = tuple(kernel.shape)
        found: list[Group] = []
        for number, share in enumerate(shares):
            here = self.parts[number].granularity if number < len(self.parts) else Element()
            for group in here.groups(share):
                if self._part(group.path) != number:
                    raise InputError(
                        f"scores {group.path} are not matched by the part of their kernels, "
                        f"{self.parts[number].where!r}"
                    )
                found.append(group)
        return found

    def like_scores(self, kernels: Tree) -> dict[str, Any]:
        """Shape and dtype of every score array, the dtype of its first kernel."""
        flat = flatten(kernels)
        return unflatten(
            {
                group.path: jax.ShapeDtypeStruct(group.shape, flat[group.kernels[0][0]].dtype)
                for group in self.groups(kernels)
            }
        )

    def importance(self, kernels: Tree) -> dict[str, Any]:
        """Weights that magnitude ranks, in the shapes of the scores: mean |W| per score.

        A kernel with one score per weight is returned as it is, with its signs.
        """
        flat = flatten(kernels)
        means: dict[str, jax.Array] = {}
        for group in self.groups(kernels):
            if len(group.kernels) == 1 and group.kernels[0][1] == group.shape:
                means[group.path] = flat[group.path]
                continue
            sums = [_gather(jnp.abs(flat[path]), group.shape, a) for path, _, a in group.kernels]
            means[group.path] = sum(sums[1:], start=sums[0]) / group.covers
        return unflatten(means)

    def masks(
        self,
        rule: Rule,
        kernels: Tree,
        scores: Tree,
        threshold: Any,
        noise: Tree | None = None,
    ) -> dict[str, Any]:
        """Masks in the shapes of the scores; see `Rule.masks`.

        N:M groups are masked with their runs as the scope of the rule, all others together. With a
        global scope a density counts weights: where scores cover unequal numbers, the cut goes by
        a budget of weights (`ByWeight`).
        """
        flat: dict[str, Any] = {}
        importance = self.importance(kernels)
        for within, paths in self._scopes(rule, kernels):
            here = [None if t is None else _at(t, paths) for t in (importance, scores, noise)]
            flat |= flatten(within.masks(here[0] or {}, here[1] or {}, threshold, here[2]))
        return unflatten(flat)

    def kept(self, rule: Rule, kernels: Tree, scores: Tree, threshold: Any) -> dict[str, Any]:
        """Marks of the kept scores, boolean; see `Rule.kept` and :meth:`masks`."""
        flat: dict[str, Any] = {}
        importance = self.importance(kernels)
        for within, paths in self._scopes(rule, kernels):
            flat |= flatten(within.kept(_at(importance, paths), _at(scores, paths), threshold))
        return unflatten(flat)

    def covers(self, kernels: Tree) -> dict[str, Any]:
        """Weights that one score covers, an int for every score array."""
        return unflatten({group.path: group.covers for group in self.groups(kernels)})

    def _scopes(self, rule: Rule, kernels: Tree) -> list[tuple[Rule, set[str]]]:
        """The rule with the scope of a cut, and the paths of the scores that it cuts."""
        shares: dict[NofM | None, dict[str, int]] = {}
        for group in self.groups(kernels):
            shares.setdefault(group.runs, {})[group.path] = group.covers
        found: list[tuple[Rule, set[str]]] = []
        for runs, covers in shares.items():
            scope: Any = rule.scope if runs is None else runs
            if runs is None and rule.counts_weights and len(set(covers.values())) > 1:
                scope = ByWeight(tuple(covers.items()))
            same = scope == rule.scope
            found.append((rule if same else dataclasses.replace(rule, scope=scope), set(covers)))
        return found

    def expand(self, scores: Tree, kernels: Tree) -> dict[str, Any]:
        """Arrays like the kernels from arrays like the scores; no copy for one score per weight."""
        flat = flatten(scores)
        return unflatten(
            {
                path: spread(flat[group.path], shape, axis)
                for group in self.groups(kernels)
                for path, shape, axis in group.kernels
            }
        )

    def penalty(self, rule: Rule, scores: Tree) -> Float[Array, ""]:
        """R(S) = mean over score arrays of (factor of the part · penalty of the array)."""
        shares: dict[float, dict[str, Any]] = {}
        flat = flatten(scores)
        for path, array in flat.items():
            number = self._part(path)
            factor = self.parts[number].penalty if number < len(self.parts) else 1.0
            shares.setdefault(factor, {})[path] = array
        if shares.keys() <= {1.0}:
            return rule.penalty(scores)
        # Penalties are means over arrays: one call per factor, weighted by its share of the arrays.
        terms = [
            factor * len(share) / len(flat) * rule.penalty(unflatten(share))
            for factor, share in shares.items()
        ]
        return sum(terms[1:], start=terms[0])

    def _part(self, path: str) -> int:
        """Index of the first part that matches; their number for none."""
        matching = (i for i, part in enumerate(self.parts) if part.matches(path))
        return next(matching, len(self.parts))


ELEMENT = Structure()


def _at(tree: Tree, paths: set[str]) -> dict[str, Any]:
    return unflatten({path: leaf for path, leaf in flatten(tree).items() if path in paths})


def _aligned(shape: Shape, like: Shape, axis: int | None) -> Shape:
    """Shape of scores with as many axes as their kernel."""
    if axis is None:
        return shape
    return tuple(shape[0] if i == axis else 1 for i in range(len(like)))


def spread(scores: Shaped[Array, ...], shape: Shape, axis: int | None = None) -> Shaped[Array, ...]:
    """Scores repeated to the shape of a kernel, each over its block or slice.

    Args:
      scores: array of any dtype.
      shape: of the kernel.
      axis: axis of the kernel along which a vector of scores lies; None for scores that have the
        axes of the kernel.

    >>> spread(jnp.array([[1, 2]]), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    aligned = _aligned(scores.shape, shape, axis)
    if aligned == shape:
        return scores.reshape(shape)
    # (a, b) over (a·r, b·c) by way of (a, 1, b, 1) and (a, r, b, c): XLA fuses the broadcast into
    # the product with the kernel, so that no array of its size is written.
    split = [n for size in aligned for n in (size, 1)]
    whole = [n for size, full in zip(aligned, shape, strict=True) for n in (size, full // size)]
    return jnp.broadcast_to(scores.reshape(split), whole).reshape(shape)


def _gather(kernel: jax.Array, shape: Shape, axis: int | None) -> jax.Array:
    """Sum of a kernel over the block or slice of each score: the transpose of :func:`spread`."""
    aligned = _aligned(shape, kernel.shape, axis)
    whole = [
        n for size, full in zip(aligned, kernel.shape, strict=True) for n in (size, full // size)
    ]
    sums = jnp.sum(kernel.reshape(whole), axis=tuple(range(1, len(whole), 2)))
    return sums.reshape(shape)
