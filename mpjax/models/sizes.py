"""Layer sizes: removed attention heads and FFN widths of each layer, as keys of ``config.json``.

* ``pruned_heads``: layer -> removed heads, a key of ``transformers`` before version 5;
* ``heads_per_layer``: heads of every layer, ours, redundant beside ``pruned_heads``;
* ``ffn_per_layer``: FFN units of every layer, ours;
* ``dense_intermediate_size``: FFN units of a layer before all lost the same number, ours.

Heads keep their size.
"""

from collections.abc import Mapping
from typing import Any

from mpjax.errors import InputError
from mpjax.files import shown

PRUNED_HEADS = "pruned_heads"
HEADS_PER_LAYER = "heads_per_layer"
FFN_PER_LAYER = "ffn_per_layer"
DENSE_WIDTH = "dense_intermediate_size"

LARGEST_SIZE = 1 << 24  # beyond every known encoder, and far below what would take minutes to trace

PrunedHeads = tuple[tuple[int, ...], ...]  # removed heads of every layer


def read_pruned_heads(data: Mapping[str, Any], layers: int, heads: int) -> PrunedHeads:
    """Removed heads of every layer, sorted; () if none.

    ``heads_per_layer`` alone gives only their number: the last heads are taken as removed.

    Raises `InputError` for heads or layers out of range, and for two keys that disagree.

    >>> read_pruned_heads({"pruned_heads": {"1": [3, 0]}}, layers=2, heads=4)
    ((), (0, 3))
    >>> read_pruned_heads({"heads_per_layer": [4, 2]}, layers=2, heads=4)
    ((), (2, 3))
    """
    counts = read_counts(data, HEADS_PER_LAYER, layers, heads)
    pruned = [()] * layers
    for layer, removed in _mapping(data.get(PRUNED_HEADS)).items():
        known = _all_whole(removed) and all(0 <= head < heads for head in removed)
        if not known or not 0 <= int(layer) < layers:
            raise InputError(
                f"{PRUNED_HEADS} removes {shown(repr(removed))} from layer {shown(repr(layer))}; "
                f"the model has {layers} layers of {heads} heads"
            )
        pruned[int(layer)] = tuple(sorted(set(removed)))
    if counts is None:
        return tuple(pruned) if any(pruned) else ()
    if not any(pruned):
        pruned = [tuple(range(count, heads)) for count in counts]
    if [heads - len(removed) for removed in pruned] != list(counts):
        raise InputError(
            f"{HEADS_PER_LAYER} {shown(list(counts))} and {PRUNED_HEADS} "
            f"{shown(repr(data[PRUNED_HEADS]))} disagree"
        )
    return tuple(pruned) if any(pruned) else ()


def read_counts(
    data: Mapping[str, Any], key: str, layers: int, largest: int
) -> tuple[int, ...] | None:
    """One whole number per layer, from 0 to ``largest``; None when the key is absent."""
    value = data.get(key)
    if value is None:
        return None
    whole = isinstance(value, list | tuple) and _all_whole(value)
    if not whole or len(value) != layers or not all(0 <= n <= largest for n in value):
        raise InputError(
            f"{key} must list {layers} whole numbers from 0 to {largest}, one a layer, "
            f"found {shown(repr(value))}"
        )
    return tuple(value)


def read_dense_width(data: Mapping[str, Any], present: int) -> int:
    """FFN units of a layer before any were removed; ``present`` when the key is absent.

    Raises `InputError` for anything but a whole number from ``present`` to 2^24.
    """
    value = data.get(DENSE_WIDTH)
    if value is None:
        return present
    if not _all_whole([value]) or not present <= value <= LARGEST_SIZE:
        raise InputError(
            f"{DENSE_WIDTH} must be a whole number from the present width {present} to "
            f"{LARGEST_SIZE}, found {shown(repr(value))}"
        )
    return value


def size_keys(
    pruned: PrunedHeads, units: tuple[int, ...] | None, heads: int
) -> dict[str, dict[str, list[int]] | list[int]]:
    """Keys of ``config.json`` for layer sizes that a plain encoder does not have.

    >>> size_keys(((), (0, 3)), None, heads=4)
    {'pruned_heads': {'1': [0, 3]}, 'heads_per_layer': [4, 2]}
    """
    keys: dict[str, dict[str, list[int]] | list[int]] = {}
    if pruned:
        keys[PRUNED_HEADS] = {str(i): list(removed) for i, removed in enumerate(pruned) if removed}
        keys[HEADS_PER_LAYER] = [heads - len(removed) for removed in pruned]
    if units is not None:
        keys[FFN_PER_LAYER] = list(units)
    return keys


def _mapping(value: object) -> Mapping[Any, Any]:
    """The value of ``pruned_heads``, {} if absent."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(
        str(layer).isdecimal() and len(str(layer)) < 10 for layer in value
    ):
        raise InputError(
            f"{PRUNED_HEADS} must map layers to lists of heads, found {shown(repr(value))}"
        )
    return value


def _all_whole(values: object) -> bool:
    """Whether a value is a list of whole numbers."""
    return isinstance(values, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) for n in values
    )
