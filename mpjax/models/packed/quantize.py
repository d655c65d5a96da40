"""Symmetric int8, one scale per row: per output channel of a weight, per word of a table."""

import numpy as np

LARGEST = 127  # −128 has no counterpart


def to_int8(tensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantises rows: ``q = round(w / s)`` with ``s = max |row| / 127``.

    Returns ``q``, int8 (rows, n), and the scales ``s``, float32 (rows,).

    A value nearer to zero than half a scale becomes zero. Raises ValueError for values that are not
    finite.

    >>> q, scales = to_int8(np.array([[-2.54, 0.0, 1.0]], np.float32))
    >>> q, scales
    (array([[-127,    0,   50]], dtype=int8), array([0.02], dtype=float32))
    """
    exact = tensor.astype(np.float64)
    if not np.isfinite(exact).all():
        raise ValueError("holds values that are not finite")
    scales = (np.abs(exact).max(axis=1, initial=0.0) / LARGEST).astype(np.float32)
    steps = np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
    return np.clip(np.rint(exact / steps), -LARGEST, LARGEST).astype(np.int8), scales


def from_int8(q: np.ndarray, scales: np.ndarray, dtype: str) -> np.ndarray:
    """Restores ``q · s``, multiplied in float32 and cast to ``dtype``."""
    with np.errstate(over="ignore", invalid="ignore"):  # readers refuse what is not finite
        return (q.astype(np.float32) * scales[:, None]).astype(dtype, copy=False)
