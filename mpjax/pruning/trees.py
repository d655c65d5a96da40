# pyright: reportUnknownMemberType=false
# (jax.tree leaves the type of a tree definition unknown.)
"""Pytrees of parameters by path: selecting, replacing and mapping leaves.

A path is the keys of a leaf, joined with ``/``: keys of dicts, names of fields, positions in lists.
An array in a box, such as `nnx.Param` or `nn.Partitioned`, has the path of the box.
"""

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import jax

Tree = Any  # pytree of arrays
Where = str | Callable[[str, Any], bool]
Keys = tuple[str, ...]  # a path, not yet joined: keys may hold a "/"

_BOXES = (("flax.core.meta", "AxisMetadata"), ("flax.nnx.variablelib", "Variable"))
_NOTHING: Any = object()


def matcher(where: Where) -> Callable[[str, Any], bool]:
    """Predicate on (path, leaf) from a regular expression or a predicate.

    Raises:
      ValueError: neither of them, or no valid regular expression.

    >>> matcher(r".*/kernel")("encoder/layer_0/kernel", None)
    True
    """
    if callable(where):
        return where
    pattern = compiled(where, "where")
    return lambda path, leaf: pattern.fullmatch(path) is not None


def compiled(pattern: str, named: str) -> re.Pattern[str]:
    """Regular expression for whole paths.

    Raises:
      ValueError: it is none; the message begins with the name.
    """
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"{named} is {pattern!r}, which is no regular expression ({error}); '.*kernel' matches"
            " all paths that end in 'kernel'"
        ) from None


def flatten(tree: Tree) -> dict[str, Any]:
    """Leaves of a pytree by their path, in the order of `jax.tree.leaves`.

    Where two paths read the same, keys that hold a ``/`` are in brackets.

    >>> flatten({"b": 1, "a": {"x": 2}})
    {'a/x': 2, 'b': 1}
    >>> flatten({"a": {"b": 1}, "a/b": [2, 3]})
    {'a/b': 1, 'a/b/0': 2, 'a/b/1': 3}
    >>> flatten({"a": {"b": 1}, "a/b": 2})
    {'a/b': 1, '[a/b]': 2}
    """
    by_keys = leaves_by_keys(tree)
    return dict(zip(names(by_keys), by_keys.values(), strict=True))


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dict of leaves by their ``/``-joined paths: the inverse of `flatten` for nested dicts.

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


def leaves_by_keys(tree: Tree) -> dict[Keys, Any]:
    """Leaves of a pytree by their keys, out of their boxes, in the order of `jax.tree.leaves`."""
    pairs, _ = _with_paths(tree, _is_box)
    found = {tuple(map(_key_name, path)): _open(leaf) for path, leaf in pairs}
    if len(found) < len(pairs):
        every = Counter(tuple(map(_key_name, path)) for path, _ in pairs)
        twice = "/".join(next(keys for keys, times in every.items() if times > 1))
        raise ValueError(f"two arrays have the path {twice}, by keys of two types; rename one")
    return found


def names(paths: Iterable[Keys]) -> list[str]:
    """Joined paths; keys that hold a ``/`` are in brackets where two would read the same."""
    paths = list(paths)
    times = Counter("/".join(keys) for keys in paths)

    def name(keys: Keys) -> str:
        if times["/".join(keys)] == 1:
            return "/".join(keys)
        return "/".join(f"[{key}]" if "/" in key else key for key in keys)

    return [name(keys) for keys in paths]


def branches(tree: Tree) -> dict[str, Keys]:
    """Joined paths and keys of the nodes whose children have names, not positions."""
    pairs, _ = _with_paths(tree, _is_box)
    found: dict[str, Keys] = {}
    for path, _ in pairs:
        keys = tuple(map(_key_name, path))
        for depth, key in enumerate(path):
            if not isinstance(key, jax.tree_util.SequenceKey):
                found["/".join(keys[:depth])] = keys[:depth]
    return found


def select(params: Tree, where: Where) -> Tree:
    """Sub-tree of the leaves picked by ``where``.

    Its nodes are dicts without other leaves and empty branches, by key or field; lists and tuples
    keep their length, with None for what is left out.

    Args:
      params: pytree of arrays, for example the ``params`` of any Flax model.
      where: regular expression for the whole ``/``-joined path, or a predicate on (path, leaf).

    Raises:
      ValueError: nothing matches.

    >>> select({"dense": {"kernel": 1, "bias": 2}, "norm": {"scale": 3}}, r".*/kernel")
    {'dense': {'kernel': 1}}
    >>> select([{"w": 1, "b": 2}, {"norm": 3}], r".*/w")
    [{'w': 1}, None]
    """
    return subtree(params, pick(params, where))


def pick(params: Tree, where: Where) -> dict[Keys, Any]:
    """Leaves picked by ``where``, by their keys; arguments and errors as in :func:`select`."""
    wanted, by_keys = matcher(where), leaves_by_keys(params)
    chosen = {keys: leaf for keys, leaf in by_keys.items() if wanted("/".join(keys), leaf)}
    if not chosen:
        raise ValueError(
            f"no parameter path matches {where!r}; paths look like "
            f"{', '.join(names(by_keys)[:5]) or 'nothing: there are no arrays'}"
        )
    return chosen


def subtree(tree: Tree, values: Mapping[Keys, Any]) -> Tree:
    """Tree of ``values`` only, in the form of :func:`select`; {} for none.

    Args:
      tree: gives the nodes on the way.
      values: by keys: of a leaf of ``tree``, or of something new in one of its `branches`.

    >>> subtree({"l": {"w": 1, "b": 2}}, {("l", "w"): 5, ("l", "units"): 6})
    {'l': {'w': 5, 'units': 6}}
    """
    left = dict(values)

    def build(node: Any, here: Keys) -> Any:
        if here in left:
            return left.pop(here)
        children = _children(node)
        found = {key: build(child, (*here, _key_name(key))) for key, child in children.items()}
        if children and all(isinstance(key, jax.tree_util.SequenceKey) for key in children):
            if all(child is _NOTHING for child in found.values()):
                return _NOTHING
            kept = [None if child is _NOTHING else child for child in found.values()]
            return tuple(kept) if isinstance(node, tuple) else kept
        new = [keys for keys in left if keys[:-1] == here and len(keys) == len(here) + 1]
        named = {_raw(key): child for key, child in found.items() if child is not _NOTHING}
        named |= {keys[-1]: left.pop(keys) for keys in new}
        return named or _NOTHING

    built = build(tree, ())
    if left:
        raise ValueError(f"no place for {', '.join(names(left))}")
    return {} if built is _NOTHING else built


def replace(tree: Tree, values: Mapping[Keys, Any]) -> Tree:
    """The tree with new leaves at some keys; structure and boxes stay as they are.

    >>> replace({"a/b": 1, "a": [2, 3], "c": {}}, {("a", "1"): 5})
    {'a': [2, 5], 'a/b': 1, 'c': {}}
    """
    pairs, treedef = _with_paths(tree, _is_box)
    by_keys = [(tuple(map(_key_name, path)), leaf) for path, leaf in pairs]
    unknown = values.keys() - {keys for keys, _ in by_keys}
    if unknown:
        raise ValueError(f"no leaf at {', '.join(names(list(unknown)))}")
    new = [_into(leaf, values[keys]) if keys in values else leaf for keys, leaf in by_keys]
    return treedef.unflatten(new)


def merge(params: Tree, replacement: Tree) -> Tree:
    """``params`` with the leaves of ``replacement``, a tree as of :func:`select`, at their paths.

    >>> merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 5}})
    {'a': {'x': 1, 'y': 5}}
    """
    return replace(params, leaves_by_keys(replacement))


def map_named(function: Callable[[str, Any], Any], tree: Tree) -> Tree:
    """`jax.tree.map` with the ``/``-joined path as first argument.

    Arrays of a box are mapped inside it.

    >>> map_named(lambda path, leaf: f"{path}={leaf}", {"x": [1, 2]})
    {'x': ['x/0=1', 'x/1=2']}
    """

    def inside(path: Any, leaf: Any) -> Any:
        name = "/".join(map(_key_name, path))
        return _into(leaf, function(name, _open(leaf)))

    return jax.tree_util.tree_map_with_path(inside, tree, is_leaf=_is_box)


def map_leaves(function: Callable[..., Any], tree: Tree, *rest: Tree) -> dict[str, Any]:
    """`jax.tree.map` with a type.

    >>> map_leaves(lambda a, b: a + b, {"x": {"y": 1}}, {"x": {"y": 2}})
    {'x': {'y': 3}}
    """
    return cast(dict[str, Any], jax.tree.map(function, tree, *rest))


def split_leaves(
    tree: Tree,
) -> tuple[list[Any], Callable[[Sequence[Any]], dict[str, Any]]]:
    """Leaves of a tree, and the function that puts as many new ones in their places.

    >>> leaves, rebuild = split_leaves({"x": {"y": 1}, "z": 2})
    >>> leaves, rebuild([3, 4])
    ([1, 2], {'x': {'y': 3}, 'z': 4})
    """
    leaves, treedef = cast(tuple[list[Any], Any], jax.tree.flatten(tree))
    return leaves, treedef.unflatten


def _raw(key: Any) -> Any:
    """Key of a dict, name of a field, or position."""
    for field in ("key", "name", "idx"):
        if hasattr(key, field):
            return getattr(key, field)
    return str(key)


def _key_name(key: Any) -> str:
    return str(_raw(key))


def _children(node: Any) -> dict[Any, Any]:
    """Children of a node by their keys; {} of a leaf."""

    def is_child(other: Any) -> bool:
        return other is not node

    pairs, _ = _with_paths(node, is_child)
    return {path[0]: child for path, child in pairs if path}


def _with_paths(tree: Any, is_leaf: Callable[[Any], bool]) -> tuple[Any, Any]:
    return cast(tuple[Any, Any], jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf))


def _is_box(node: Any) -> bool:
    """Whether a node is a box of one array, of a library that is loaded."""
    loaded = ((sys.modules.get(module), name) for module, name in _BOXES)
    kinds = tuple(getattr(module, name) for module, name in loaded if module is not None)
    return isinstance(node, kinds) and len(jax.tree.leaves(node)) == 1


def _open(leaf: Any) -> Any:
    return jax.tree.leaves(leaf)[0] if _is_box(leaf) else leaf


def _into(leaf: Any, value: Any) -> Any:
    """The value, in the box that the leaf is."""
    if not _is_box(leaf):
        return value
    _, treedef = cast(tuple[Any, Any], jax.tree.flatten(leaf))
    return treedef.unflatten([value])
