"""Cuts: which score arrays a rule ranks together, and its masks in the shapes of the scores."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from mpjax.pruning.granularities import ByWeight, Group, NofM
from mpjax.pruning.spreading import layer_shape, layers_of, of_layers
from mpjax.pruning.trees import Tree

if TYPE_CHECKING:
    from mpjax.pruning.rules import Rule

Groups = Mapping[str, Group]


def each_scope(
    rule: Rule, groups: Groups, function: Callable[..., Tree], *trees: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Calls a function of a rule and of trees of scores for every set of arrays cut together.

    N:M groups are cut with their runs as the scope of the rule, all others together. With a global
    scope a density counts weights: where scores cover unequal numbers, the cut goes by a budget of
    weights (`ByWeight`). The layers of a stack are arrays of their own.

    Args:
      groups: score arrays by path.
      function: of the rule with its scope, and of one tree for each of ``trees``.
      trees: arrays by path, or None.

    Returns:
      Arrays in the shapes of the scores, by path.
    """
    found: dict[str, Any] = {}
    for within, own in scopes(rule, groups):
        cut = function(within, *(None if t is None else _layers(own, t) for t in trees))
        for path, group in own.items():
            found[path] = of_layers(group, [cut[name] for name in layer_names(group)])
    return {path: found[path] for path in groups}


def scopes(rule: Rule, groups: Groups) -> list[tuple[Rule, dict[str, Group]]]:
    """The rule with the scope of a cut, and the score arrays that it cuts."""
    shares: dict[NofM | None, dict[str, Group]] = {}
    for path, group in groups.items():
        shares.setdefault(group.runs, {})[path] = group
    found: list[tuple[Rule, dict[str, Group]]] = []
    for runs, own in shares.items():
        scope: Any = rule.scope if runs is None else runs
        if runs is None and rule.counts_weights and len({g.covers for g in own.values()}) > 1:
            covers = ((name, g.covers) for g in own.values() for name in layer_names(g))
            scope = ByWeight(tuple(covers))
        same = scope == rule.scope
        found.append((rule if same else dataclasses.replace(rule, scope=scope), own))
    return found


def layer_names(group: Group) -> Sequence[str]:
    """Path of each layer of a score array; without a stack, its own."""
    return [f"{group.path}/{i}" for i in range(group.layers)] if group.stack else [group.path]


def like_layers(groups: Groups, like: Mapping[str, Any]) -> Tree:
    """Shape and dtype of the layers of score arrays."""
    return OrderedDict(
        (name, jax.ShapeDtypeStruct(layer_shape(group), like[path].dtype))
        for path, group in groups.items()
        for name in layer_names(group)
    )


def _layers(groups: Groups, arrays: Mapping[str, Any]) -> Tree:
    return OrderedDict(
        (name, layer)
        for path, group in groups.items()
        if path in arrays
        for name, layer in zip(layer_names(group), layers_of(group, arrays[path]), strict=True)
    )
