"""Overlap of the masks of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpjax.pages.reading.matrices import Key, Matrices

Marks = Mapping[Key, tuple[tuple[int, ...], np.ndarray]]  # shape, and kept weights as packed bits


def packed(matrices: Matrices) -> Marks:
    """Kept weights of every matrix, one bit each."""
    return {key: (array.shape, np.packbits(array != 0)) for key, array in matrices.items()}


def jaccard(one: Marks, other: Marks) -> float | None:
    """|kept by both| / |kept by either|; None for matrices of other shapes, or nothing kept.

    >>> mask = lambda *kept: packed({(0, "query"): np.array([kept])})
    >>> jaccard(mask(1, 1, 0, 0), mask(0, 1, 1, 0))
    0.3333333333333333
    """
    if {key: shape for key, (shape, _) in one.items()} != {
        key: shape for key, (shape, _) in other.items()
    }:
        return None
    both = sum(_count(one[key][1] & other[key][1]) for key in one)
    either = sum(_count(one[key][1] | other[key][1]) for key in one)
    return both / either if either else None


def overlaps(masks: Sequence[Marks]) -> list[list[float | None]]:
    """Jaccard index of every pair, a symmetric table."""
    table: list[list[float | None]] = [[None] * len(masks) for _ in masks]
    for i, one in enumerate(masks):
        for j in range(i, len(masks)):
            table[i][j] = table[j][i] = jaccard(one, masks[j])
    return table


def by_chance(one: float, other: float) -> float:
    """Jaccard index of two random masks of these densities: pq / (p + q − pq).

    >>> round(by_chance(0.1, 0.1), 4)
    0.0526
    """
    both = one * other
    return both / (one + other - both) if one + other else 0.0


def _count(bits: np.ndarray) -> int:
    return int(np.bitwise_count(bits).sum())
