"""Choosing and replacing the prunable leaves of a nested dict of parameters."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Tree = Mapping[str, Any]
Where = str | Callable[[str, Any], bool]


def matcher(where: Where) -> Callable[[str, Any], bool]:
    """A predicate on (path, leaf) from a regular expression or a predicate.

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
        flat.update(flatten(value, path + "/") if isinstance(value, Mapping) else {path: value})
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`flatten`.

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
    """The sub-tree of the leaves that ``where`` picks; other leaves and empty branches are absent.

    Args:
      params: nested dict of arrays, for example the ``params`` of any Flax model.
      where: regular expression that the whole ``/``-joined path must match, or a predicate on
        (path, leaf).

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
    """``params`` with the leaves of ``replacement`` put in their places.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 5}})
    {'a': {'x': 1, 'y': 5}}
    """
    return unflatten(flatten(params) | flatten(replacement))
