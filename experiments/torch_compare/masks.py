"""Masks in PyTorch: the straight-through estimator, masked weights, and the largest entries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from experiments.torch_compare.layouts import Layout


class StraightThrough(torch.autograd.Function):
    """Forward the mask, backward to the scores as if it were them."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, mask: Tensor) -> Tensor:
        del ctx, scores
        return mask

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        del ctx
        return grads[0], None


class Masked(nn.Module):
    """The parametrization of one weight: multiplies it by ``mask``, which the trainer sets.

    ``scores`` and ``mask`` have the shape of the layout; a parameter may be in several of these.
    """

    scores: nn.Parameter  # None where the method trains none

    def __init__(self, scores: nn.Parameter | None, layout: Layout, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_parameter("scores", scores)
        self.layout = layout
        self.mask = torch.ones(layout.shape, dtype=dtype)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.layout.spread(self.mask)


def original(linear: nn.Linear) -> Tensor:
    """The weight below its parametrization, unmasked."""
    parametrizations: Any = linear.parametrizations
    return parametrizations.weight.original


def keep_largest(values: Tensor, count: int) -> Tensor:
    """Marks the ``count`` largest; ties go to the lowest index of the transposed (in, out) matrix.

    That is the order of a Flax kernel, so masks of the two frameworks can be compared entry by
    entry.
    """
    if values.ndim == 1:
        return keep_largest(values[:, None], count)[:, 0]
    flat = values.T.reshape(-1)
    mask = torch.zeros_like(flat)
    mask[torch.argsort(flat, descending=True, stable=True)[:count]] = 1
    return mask.reshape(values.T.shape).T
