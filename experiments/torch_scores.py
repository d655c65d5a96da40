"""Which scores a matrix of the PyTorch trainer has: one per weight, per block, or shared by two.

Shapes are PyTorch's, (out, in). Written for itself, from the published description.
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
    """The scores of one matrix: their name, their shape, and how they become its shape."""

    name: str
    shape: tuple[int, ...]
    spread: Spread


def layout(structure: str, name: str, linear: nn.Linear) -> Layout:
    """The layout for the matrix called ``name``, where ``structure`` is an option of `mpjax train`.

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
