"""Structure: which granularity which kernels have, and arrays between scores and kernels.

Rules see arrays of the shapes of the scores only. Here those arrays are laid over the kernels by
broadcasting, so the gradient of a score is the sum over what it covers by differentiating that.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from mpjax.errors import InputError
from mpjax.pruning.granularities import Element, Granularity, Group, NofM, Shape
from mpjax.pruning.trees import Tree, flatten, unflatten

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule


@dataclass(frozen=True)
class Part:
    """The granularity of the kernels whose path matches, and what multiplies λ for their scores.

    Attributes:
      where: regular expression that the whole path of a kernel must match, and that of the scores
        it has under this granularity too.
    """

    where: str
    granularity: Granularity
    penalty: float = 1.0

    def matches(self, path: str) -> bool:
        return re.fullmatch(self.where, path) is not None


@dataclass(frozen=True)
class Structure:
    """Granularities by kernel; the first part that matches counts, a score per weight without one.

    >>> from mpjax.pruning.granularities import Block
    >>> structure = Structure((Part("attention/.*", Block(2, 2)),))
    >>> kernels = {"attention": {"kernel": jnp.ones((4, 6))}, "ffn": {"kernel": jnp.ones((6, 2))}}
    >>> jax.tree.map(lambda s: s.shape, structure.like_scores(kernels))
    {'attention': {'kernel': (2, 3)}, 'ffn': {'kernel': (6, 2)}}
    """

    parts: tuple[Part, ...] = ()

    def groups(self, kernels: Tree) -> list[Group]:
        """Every array of scores for a nested dict of kernels (or of anything with a shape).

        Raises:
          InputError: a kernel cannot be divided as its part says.
        """
        shares: list[dict[str, Shape]] = [{} for _ in (*self.parts, None)]
        for path, kernel in flatten(kernels).items():
            shares[self._part(path)][path] = tuple(kernel.shape)
        found = []
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
        """Shape and dtype of every array of scores."""
        flat = flatten(kernels)
        return unflatten(
            {
                group.path: jax.ShapeDtypeStruct(group.shape, flat[group.kernels[0][0]].dtype)
                for group in self.groups(kernels)
            }
        )

    def importance(self, kernels: Tree) -> dict[str, Any]:
        """What magnitude ranks, in the shapes of the scores: the mean |W| of what each covers.

        A kernel with a score for every weight is returned as it is.
        """
        flat, means = flatten(kernels), {}
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
        """Masks in the shapes of the scores; see ``Rule.masks``.

        Groups of an N:M granularity get the rule's masks with that as its scope. The others are
        masked together: a global scope compares all their scores, each counting as one whatever it
        covers.
        """
        importance = self.importance(kernels)
        shares: dict[NofM | None, set[str]] = {}
        for group in self.groups(kernels):
            shares.setdefault(group.runs, set()).add(group.path)
        if shares.keys() == {None}:
            return rule.masks(importance, scores, threshold, noise)
        flat: dict[str, Any] = {}
        for runs, paths in shares.items():
            within = rule if runs is None else dataclasses.replace(rule, scope=runs)
            here = [None if t is None else _at(t, paths) for t in (importance, scores, noise)]
            flat |= flatten(within.masks(here[0] or {}, here[1] or {}, threshold, here[2]))
        return unflatten(flat)

    def expand(self, scores: Tree, kernels: Tree) -> dict[str, Any]:
        """An array like each kernel, from arrays like the scores; no copy where they agree."""
        flat = flatten(scores)
        return unflatten(
            {
                path: spread(flat[group.path], shape, axis)
                for group in self.groups(kernels)
                for path, shape, axis in group.kernels
            }
        )

    def penalty(self, rule: Rule, scores: Tree) -> jax.Array:
        """R(S) = mean over arrays of scores of (the part's multiplier · the array's own mean)."""
        shares: dict[float, dict[str, Any]] = {}
        flat = flatten(scores)
        for path, array in flat.items():
            number = self._part(path)
            factor = self.parts[number].penalty if number < len(self.parts) else 1.0
            shares.setdefault(factor, {})[path] = array
        if shares.keys() <= {1.0}:
            return rule.penalty(scores)
        terms = [
            factor * len(share) / len(flat) * rule.penalty(unflatten(share))
            for factor, share in shares.items()
        ]
        return sum(terms[1:], start=terms[0])

    def _part(self, path: str) -> int:
        matching = (i for i, part in enumerate(self.parts) if part.matches(path))
        return next(matching, len(self.parts))


ELEMENT = Structure()


def _at(tree: Tree, paths: set[str]) -> dict[str, Any]:
    return unflatten({path: leaf for path, leaf in flatten(tree).items() if path in paths})


def _lying(shape: Shape, like: Shape, axis: int | None) -> Shape:
    """The shape of scores with as many axes as their kernel."""
    if axis is None:
        return shape
    return tuple(shape[0] if i == axis else 1 for i in range(len(like)))


def spread(scores: jax.Array, shape: Shape, axis: int | None = None) -> jax.Array:
    """Scores repeated to the shape of a kernel: each covers a slice or a block of it.

    Args:
      axis: of the kernel, along which a vector of scores lies; None where they have its own axes.

    >>> spread(jnp.array([[1, 2]]), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    lying = _lying(scores.shape, shape, axis)
    if lying == shape:
        return scores.reshape(shape)
    # (a, b) over (a·r, b·c) by way of (a, 1, b, 1) and (a, r, b, c): views, until used.
    split = [n for size in lying for n in (size, 1)]
    whole = [n for size, full in zip(lying, shape, strict=True) for n in (size, full // size)]
    return jnp.broadcast_to(scores.reshape(split), whole).reshape(shape)


def _gather(kernel: jax.Array, shape: Shape, axis: int | None) -> jax.Array:
    """The sum of what each score covers: the transpose of :func:`spread`."""
    lying = _lying(shape, kernel.shape, axis)
    whole = [
        n for size, full in zip(lying, kernel.shape, strict=True) for n in (size, full // size)
    ]
    sums = jnp.sum(kernel.reshape(whole), axis=tuple(range(1, len(whole), 2)))
    return sums.reshape(shape)
