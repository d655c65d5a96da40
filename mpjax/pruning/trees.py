# pyright: reportUnknownMemberType=false
# (jax.tree leaves the type of a tree definition unknown.)
"""Nested dicts of parameters: selecting, replacing and mapping leaves by path."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax

Tree = Mapping[str, Any]
Where = str | Callable[[str, Any], bool]


def matcher(where: Where) -> Callable[[str, Any], bool]:
    """Predicate on (path, leaf) from a regular expression or a predicate.

    >>> matcher(r".*/kernel")("encoder/layer_0/kernel", None)
    True
    """
    if callable(where):
        return where
    pattern = re.compile(where)
    return lambda path, leaf: pattern.fullmatch(path) is not None


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested dict by their path, keys joined with ``/``, in sorted key order.

    >>> flatten({"b": 1, "a": {"x": 2}})
    {'a/x': 2, 'b': 1}
    """
    flat: dict[str, Any] = {}
    for key in sorted(tree):
        path, value = f"{prefix}{key}", tree[key]
        if isinstance(value, Mapping):
            flat.update(flatten(cast(Tree, value), path + "/"))
        else:
            flat[path] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of :func:`flatten`.

    >>> unflatten({"a/x": 2, "b": 1})
    {'a': {'x': 2}, 'b': 1}
    """
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return tree


def select(params: Tree, where: Where) -> dict[str, Any]:
    """Sub-tree of the leaves picked by ``where``, without other leaves and empty branches.

    Args:
      params: nested dict of arrays, for example the ``params`` of any Flax model.
      where: regular expression for the whole ``/``-joined path, or a predicate on (path, leaf).

    Raises:
      ValueError: nothing matches.

    >>> select({"dense": {"kernel": 1, "bias": 2}, "norm": {"scale": 3}}, r".*/kernel")
    {'dense': {'kernel': 1}}
    """
    wanted, flat = matcher(where), flatten(params)
    chosen = {path: leaf for path, leaf in flat.items() if wanted(path, leaf)}
    if not chosen:
        raise ValueError(
            f"no parameter path matches {where!r}; paths look like {', '.join(list(flat)[:5])}"
        )
    return unflatten(chosen)


def merge(params: Tree, replacement: Tree) -> dict[str, Any]:
    """``params`` with the leaves of ``replacement`` at their paths.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 5}})
    {'a': {'x': 1, 'y': 5}}
    """
    return unflatten(flatten(params) | flatten(replacement))


def map_leaves(function: Callable[..., Any], tree: Tree, *rest: Tree) -> dict[str, Any]:
    """`jax.tree.map` over nested dicts, with a type.

    >>> map_leaves(lambda a, b: a + b, {"x": {"y": 1}}, {"x": {"y": 2}})
    {'x': {'y': 3}}
    """
    return cast(dict[str, Any], jax.tree.map(function, tree, *rest))


def split_leaves(
    tree: Tree,
) -> tuple[list[Any], Callable[[Sequence[Any]], dict[str, Any]]]:
    """Leaves of a nested dict, and the function that puts as many new ones in their places.

    >>> leaves, rebuild = split_leaves({"x": {"y": 1}, "z": 2})
    >>> leaves, rebuild([3, 4])
    ([1, 2], {'x': {'y': 3}, 'z': 4})
    """
    leaves, treedef = cast(tuple[list[Any], Any], jax.tree.flatten(tree))
    return leaves, treedef.unflatten
