"""Layers that differ in size: which attention heads a layer has lost, how many FFN units it has.

In ``config.json`` the heads are ``pruned_heads`` (layer to list of removed heads, a key of
``transformers`` before 5) and, for the reader, ``heads_per_layer``; the units are
``ffn_per_layer``. Both of the last are keys of ours. Heads keep their size.
"""

from collections.abc import Mapping
from typing import Any

from mpjax.errors import InputError

PRUNED = "pruned_heads"
HEADS = "heads_per_layer"
UNITS = "ffn_per_layer"

Pruned = tuple[tuple[int, ...], ...]


def read_pruned_heads(data: Mapping[str, Any], layers: int, heads: int) -> Pruned:
    """Removed heads of every layer, sorted; () when there are none.

    ``heads_per_layer`` alone says how many but not which: the last ones then.

    Raises `InputError` for heads or layers that there are not, and for two keys that disagree.

    >>> read_pruned_heads({"pruned_heads": {"1": [3, 0]}}, layers=2, heads=4)
    ((), (0, 3))
    >>> read_pruned_heads({"heads_per_layer": [4, 2]}, layers=2, heads=4)
    ((), (2, 3))
    """
    counts = read_counts(data, HEADS, layers, heads)
    pruned = [()] * layers
    for layer, gone in _mapping(data.get(PRUNED)).items():
        if not (_is_count(gone) and 0 <= int(layer) < layers and all(0 <= h < heads for h in gone)):
            raise InputError(
                f"{PRUNED} removes {gone!r} from layer {layer!r}; the model has {layers} layers of "
                f"{heads} heads"
            )
        pruned[int(layer)] = tuple(sorted(set(gone)))
    if counts is None:
        return tuple(pruned) if any(pruned) else ()
    if not any(pruned):
        pruned = [tuple(range(count, heads)) for count in counts]
    if [heads - len(gone) for gone in pruned] != list(counts):
        raise InputError(f"{HEADS} {list(counts)} and {PRUNED} {data[PRUNED]!r} disagree")
    return tuple(pruned) if any(pruned) else ()


def read_counts(
    data: Mapping[str, Any], key: str, layers: int, largest: int
) -> tuple[int, ...] | None:
    """A list of one whole number a layer, from 0 to ``largest``; None when the key is absent."""
    value = data.get(key)
    if value is None:
        return None
    whole = isinstance(value, list | tuple) and _is_count(value)
    if not whole or len(value) != layers or not all(0 <= n <= largest for n in value):
        raise InputError(
            f"{key} must list {layers} whole numbers from 0 to {largest}, one a layer, "
            f"found {value!r}"
        )
    return tuple(value)


def size_keys(
    pruned: Pruned, units: tuple[int, ...] | None, heads: int
) -> dict[str, dict[str, list[int]] | list[int]]:
    """The keys of ``config.json`` for sizes that are not those of a plain encoder.

    >>> size_keys(((), (0, 3)), None, heads=4)
    {'pruned_heads': {'1': [0, 3]}, 'heads_per_layer': [4, 2]}
    """
    keys: dict[str, dict[str, list[int]] | list[int]] = {}
    if pruned:
        keys[PRUNED] = {str(i): list(gone) for i, gone in enumerate(pruned) if gone}
        keys[HEADS] = [heads - len(gone) for gone in pruned]
    if units is not None:
        keys[UNITS] = list(units)
    return keys


def _mapping(value: object) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(str(layer).isdecimal() for layer in value):
        raise InputError(f"{PRUNED} must map layers to lists of heads, found {value!r}")
    return value


def _is_count(values: object) -> bool:
    return isinstance(values, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) for n in values
    )
