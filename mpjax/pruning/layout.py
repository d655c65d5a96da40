# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Layout: the kernels of a pytree that are pruned, their score arrays, and where both lie."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpjax.errors import InputError
from mpjax.pruning.axes import Axes, kernels_of
from mpjax.pruning.granularities import Group
from mpjax.pruning.spreading import expand, mean_size
from mpjax.pruning.structures import Structure
from mpjax.pruning.trees import Keys, Tree, Where, branches, leaves_by_keys, names, pick, subtree

Flat = OrderedDict[str, Any]  # arrays by path, in the order of the leaves of a tree


@dataclass(frozen=True)
class Layout:
    """Kernels and score arrays of a pytree.

    Attributes:
      params: the pytree.
      kernels: the arrays by path, in the order of the tree.
      keys: of the kernels, by path.
      groups: score arrays by path, in the order of the tree of scores.
      places: keys of the score arrays in the tree of scores, by path.
    """

    params: Tree
    kernels: Flat
    keys: Mapping[str, Keys]
    groups: OrderedDict[str, Group]
    places: Mapping[str, Keys]

    def like_scores(self) -> Flat:
        """Shape and dtype of every score array, the dtype of its first kernel."""
        return OrderedDict(
            (path, jax.ShapeDtypeStruct(g.shape, self.kernels[g.kernels[0].path].dtype))
            for path, g in self.groups.items()
        )

    def importance(self) -> Flat:
        """Weights that magnitude ranks, in the shapes of the scores: mean |W| per score."""
        return OrderedDict(
            (path, mean_size(group, [self.kernels[member.path] for member in group.kernels]))
            for path, group in self.groups.items()
        )

    def expand(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays like the kernels, by path, from arrays like the scores."""
        return {
            member.path: expand(group, scores[path], member)
            for path, group in self.groups.items()
            for member in group.kernels
        }

    def read(self, scores: Tree) -> Flat:
        """Arrays of a tree of scores by path; those that are not there are left out."""
        found = leaves_by_keys(scores)
        return OrderedDict(
            (path, found[keys]) for path, keys in self.places.items() if keys in found
        )

    def scores(self, arrays: Mapping[str, Any]) -> Tree:
        """Tree of scores from arrays by path."""
        return subtree(self.params, {self.places[path]: x for path, x in arrays.items()})

    def like_kernels(self, arrays: Mapping[str, Any]) -> Tree:
        """Sub-tree of the parameters from arrays by the path of a kernel."""
        return subtree(self.params, {self.keys[path]: x for path, x in arrays.items()})


def lay_out(
    params: Tree, where: Where, structure: Structure, axes: Sequence[tuple[str, Axes]]
) -> Layout:
    """Layout of the kernels that ``where`` picks.

    Raises:
      ValueError: ``where`` matches nothing.
      InputError: the structure does not divide a kernel; axes that do not fit.
    """
    everything = leaves_by_keys(params)
    picked = pick(params, where)
    paths = dict(zip(everything, names(everything), strict=True))
    shapes = {paths[keys]: tuple(getattr(leaf, "shape", ())) for keys, leaf in everything.items()}
    keys = {paths[own]: own for own in picked}
    for path, own in keys.items():
        if not hasattr(picked[own], "dtype"):
            kind = type(picked[own]).__name__
            raise InputError(f"{where!r} matches {path}, which is a {kind} and no array")
        if not jnp.issubdtype(picked[own].dtype, jnp.floating):
            raise InputError(
                f"{where!r} matches {path}, an array of {picked[own].dtype}; kernels to prune are "
                "floating-point numbers"
            )
    found = structure.groups(kernels_of(shapes, list(keys), axes))
    nodes = branches(params)
    places = {group.path: _place(group, keys, nodes) for group in found}
    order: list[str] = jax.tree.leaves(subtree(params, {places[g.path]: g.path for g in found}))
    by_path = {group.path: group for group in found}
    return Layout(
        params=params,
        kernels=OrderedDict((paths[own], _of_jax(leaf)) for own, leaf in picked.items()),
        keys=keys,
        groups=OrderedDict((path, by_path[path]) for path in order),
        places={path: places[path] for path in order},
    )


def _of_jax(leaf: Any) -> Any:
    """The leaf; an array of NumPy of a dtype that JAX does not compute with, as JAX takes it."""
    own: Any = leaf
    if isinstance(leaf, np.ndarray) and own.dtype != jax.dtypes.canonicalize_dtype(own.dtype):
        own = jnp.asarray(own)
    return own


def _place(group: Group, keys: Mapping[str, Keys], nodes: Mapping[str, Keys]) -> Keys:
    """Keys of a score array: those of its kernel, a new one beside several, or of the first."""
    parent, _, name = group.path.rpartition("/")
    if group.path in keys:
        return keys[group.path]
    return (*nodes[parent], name) if parent in nodes else keys[group.kernels[0].path]
