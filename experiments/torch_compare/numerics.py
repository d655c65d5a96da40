"""Types, dropout and device of a comparison."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Numerics:
    """Numerics of a side of the comparison.

    Attributes:
      dtype: of parameters, scores and optimizer state, as NumPy names it.
      compute: of the products in PyTorch, by autocast; None = ``dtype``.
      dropout: False switches it off.
      device: of PyTorch, as it names it.
    """

    dtype: str = "float32"
    compute: str | None = None
    dropout: bool = True
    device: str = "cpu"
