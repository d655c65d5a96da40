"""Layouts of the scores of the PyTorch trainer: per weight, per block, or shared by two matrices.

Shapes are PyTorch's, (out, in). Independent of the structures of the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from mpjax.errors import InputError

Spread = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layout:
    """Scores of one matrix: their name, their shape, and the function that spreads them over it."""

    name: str
    shape: tuple[int, ...]
    spread: Spread


def layout(structure: str, name: str, linear: nn.Linear) -> Layout:
    """Layout of the matrix called ``name`` under a ``--structure`` of `mpjax train`.

    Known are element, block:RxC (R inputs, C outputs) and units in ``ffn=``.

    Raises:
      InputError: another structure.
    """
    attention = ".attention." in name
    kind = {"hybrid": "attention=block:32x32,ffn=units"}.get(structure, structure)
    if "=" in kind:
        by_group = dict(entry.split("=") for entry in kind.split(","))
        kind = by_group.get("attention" if attention else "ffn", "element")
    out_size, in_size = linear.weight.shape
    if kind == "element":
        return Layout(name, (out_size, in_size), lambda scores: scores)
    if kind == "units" and not attention:
        layer, _, end = name.partition(".intermediate.dense")
        if name.endswith(".intermediate.dense"):  # a unit is a row of the first matrix
            return Layout(layer + ".units", (out_size,), lambda s: s[:, None].expand(-1, in_size))
        layer = layer.removesuffix(".output.dense") + end
        return Layout(layer + ".units", (in_size,), lambda s: s[None, :].expand(out_size, -1))
    match = re.fullmatch(r"block:(\d+)x(\d+)", kind)
    if match is None:
        raise InputError(f"the PyTorch trainer does not have --structure {structure}")
    rows, columns = int(match[2]), int(match[1])  # of the transpose

    def repeat(scores: Tensor) -> Tensor:
        return scores.repeat_interleave(rows, 0).repeat_interleave(columns, 1)

    return Layout(name, (out_size // rows, in_size // columns), repeat)
