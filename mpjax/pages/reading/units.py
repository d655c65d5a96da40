"""Attention heads and feed-forward units of a model: what each has kept."""

from __future__ import annotations

import numpy as np

from mpjax.pages.reading.matrices import Matrices


def head_densities(matrices: Matrices, head_size: int) -> dict[int, np.ndarray]:
    """Share of the kept weights in the four matrices of every head, (heads,) by layer."""
    found = {}
    for layer in sorted({layer for layer, _ in matrices}):
        parts = [_by_outputs(matrices.get((layer, name))) for name in ("query", "key", "value")] + [
            _by_inputs(matrices.get((layer, "attn out")))
        ]
        shares = [part for part in parts if part is not None]
        if len(shares) == 4 and head_size and all(len(s) == len(shares[0]) for s in shares):
            found[layer] = np.mean(shares, axis=0).reshape(-1, head_size).mean(axis=1)
    return found


def unit_densities(matrices: Matrices) -> dict[int, np.ndarray]:
    """Share of the kept weights in both matrices of every feed-forward unit, (units,) by layer."""
    found = {}
    for layer in sorted({layer for layer, _ in matrices}):
        inside, out = matrices.get((layer, "ffn in")), matrices.get((layer, "ffn out"))
        shares = [_by_outputs(inside), _by_inputs(out)]
        if shares[0] is not None and shares[1] is not None and len(shares[0]) == len(shares[1]):
            found[layer] = (shares[0] + shares[1]) / 2
    return found


def _by_outputs(matrix: np.ndarray | None) -> np.ndarray | None:
    return None if matrix is None else (matrix != 0).mean(axis=1)


def _by_inputs(matrix: np.ndarray | None) -> np.ndarray | None:
    return None if matrix is None else (matrix != 0).mean(axis=0)
