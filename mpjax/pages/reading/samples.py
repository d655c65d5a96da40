"""Samples of weights for scatter plots and distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpjax.pages.reading.matrices import Matrices, Weights

BINS = 60


@dataclass(frozen=True)
class Sample:
    """Weights drawn at random from all encoder matrices, one entry each.

    Attributes:
      after: unmasked weights at the end; those of the finished model without a checkpoint.
      before: before training; None if not at hand.
      scores: None if not at hand, or if a score covers several weights.
    """

    after: np.ndarray
    kept: np.ndarray
    before: np.ndarray | None
    scores: np.ndarray | None


def draw(weights: Weights, count: int, seed: int = 0) -> Sample | None:
    """About half kept and half pruned weights, so that both are seen at any density.

    None without a model.
    """
    if not weights.final:
        return None
    random = np.random.default_rng(seed)
    final = weights.final
    kept = _places(final, count // 2, random, kept=True)
    pruned = _places(final, count - count // 2, random, kept=False)
    places = {key: np.concatenate([kept[key], pruned[key]]) for key in final}
    after = _at(weights.unmasked, places, final)
    shown = _at(final, places, final)
    assert shown is not None
    return Sample(
        after=shown if after is None else np.where(shown != 0, shown, after),
        kept=shown != 0,
        before=_at(weights.before, places, final),
        scores=_at(weights.scores, places, final),
    )


def kept_distribution(matrices: Matrices) -> tuple[np.ndarray, np.ndarray]:
    """Edges of bins of weights, and the density of the kept weights in them, whose area is 1.

    The bins reach from the 0.1% to the 99.9% quantile of the kept weights.
    """
    values = [array[array != 0].ravel() for array in matrices.values()]
    kept = np.concatenate(values).astype(np.float32) if values else np.zeros(0, np.float32)
    if not kept.size:
        return np.zeros(0), np.zeros(0)
    low, high = np.quantile(kept, (0.001, 0.999))
    if not low < high:
        low, high = low - 1e-3, high + 1e-3
    counts, edges = np.histogram(kept, BINS, (float(low), float(high)))
    return edges, counts / (kept.size * np.diff(edges))


def _places(
    matrices: Matrices, count: int, random: np.random.Generator, *, kept: bool
) -> dict[tuple[int, str], np.ndarray]:
    """Flat indices into every matrix, `count` in all, in proportion to what each matrix has."""
    found = {key: np.flatnonzero((array != 0) == kept) for key, array in matrices.items()}
    total = sum(map(len, found.values()))
    return {
        key: random.choice(at, min(len(at), round(count * len(at) / total)), replace=False)
        if total
        else at
        for key, at in found.items()
    }


def _at(
    matrices: Matrices, places: dict[tuple[int, str], np.ndarray], like: Matrices
) -> np.ndarray | None:
    """Entries at flat indices, or None unless every matrix is there in the same shape."""
    if any(key not in matrices or matrices[key].shape != like[key].shape for key in like):
        return None
    return np.concatenate(
        [np.ravel(matrices[key])[at].astype(np.float32) for key, at in places.items()]
    )
