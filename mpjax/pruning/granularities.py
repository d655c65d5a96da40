"""Granularities: weights that share a score, from single weights to blocks, rows, heads and units.

A granularity maps kernels to arrays of scores: how many, of which shapes, and along which axes. It
is data; rules do not know of it. Kernels are Flax's (inputs, outputs): a row belongs to an input
feature, a column to an output feature. PyTorch's matrices are the transposes.

Blocks, and vectors shared by several kernels, are those of Lagunas et al. (2021), "Block Pruning
For Faster Transformers", arXiv 2109.04838. Their "hybrid" models have 32 x 32 blocks in the
attention matrices and one score per hidden unit of the feed-forward layer (`Shared`).
"""

from __future__ import annotations

import abc
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mpjax.errors import InputError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """One array of scores and the kernels that it masks.

    Attributes:
      path: of the scores, ``/``-joined.
      shape: of the scores.
      kernels: path and shape of each kernel, and the axis along which a vector of scores lies; None
        for scores that have the axes of the kernel.
      runs: N:M granularity whose runs of M scores are ranked apart; None for one ranking.
    """

    path: str
    shape: Shape
    kernels: tuple[tuple[str, Shape, int | None], ...]
    runs: NofM | None = None

    @property
    def size(self) -> int:
        """Number of scores."""
        return math.prod(self.shape)

    @property
    def covers(self) -> int:
        """Weights masked by one score of the group."""
        return sum(math.prod(shape) for _, shape, _ in self.kernels) // math.prod(self.shape)


class Granularity(abc.ABC):
    """Divides kernels into groups of weights that share a score."""

    @abc.abstractmethod
    def groups(self, kernels: Mapping[str, Shape]) -> list[Group]:
        """Score arrays of kernels given by path and shape.

        Raises:
          InputError: the sizes do not divide a kernel; names it and both sizes.
        """


@dataclass(frozen=True)
class Element(Granularity):
    """One score per weight, for kernels of any shape (unstructured pruning).

    >>> Element().groups({"a/kernel": (4, 6)})[0].shape
    (4, 6)
    """

    def groups(self, kernels: Mapping[str, Shape]) -> list[Group]:
        return [Group(path, shape, ((path, shape, None),)) for path, shape in kernels.items()]


@dataclass(frozen=True)
class NofM(Element):
    """N:M sparsity: one score per weight, ``n`` kept of each ``m`` consecutive inputs.

    Runs lie along the first axis of the (inputs, outputs) kernel, within one output feature, as
    sparse tensor cores expect them.

    >>> str(NofM(2, 4)), NofM(2, 4).density
    ('2:4', 0.5)
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m:
            raise InputError(f"structure {self} must keep from 1 to {self.m} of every {self.m}")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    @property
    def density(self) -> float:
        """Fraction of the weights that is kept, n/m."""
        return self.n / self.m

    def groups(self, kernels: Mapping[str, Shape]) -> list[Group]:
        for path, shape in kernels.items():
            _check_divides(f"{self.m} consecutive inputs", path, shape, (self.m,))
        return [Group(g.path, g.shape, g.kernels, runs=self) for g in super().groups(kernels)]


@dataclass(frozen=True)
class ByWeight:
    """Scope of a cut over score arrays whose scores cover unequal numbers of weights.

    A density then counts weights: see `budget_counts`.

    Attributes:
      covers: path of each score array and the weights that one of its scores covers.
    """

    covers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Block(Granularity):
    """One score per block of ``rows`` inputs by ``columns`` outputs; None = the whole axis.

    ``Block(1, None)`` has a score per row, ``Block(None, 1)`` one per column. Published models use
    32 x 32 in the attention matrices (Lagunas et al. 2021); 64 x 64 blocks are whole BERT heads.

    >>> Block(2, 3).groups({"a/kernel": (4, 6)})[0].shape
    (2, 2)
    >>> Block(1, None).groups({"a/kernel": (4, 6)})[0].shape
    (4, 1)
    """

    rows: int | None
    columns: int | None

    def __post_init__(self) -> None:
        if min(self.rows or 1, self.columns or 1) < 1 or 0 in (self.rows, self.columns):
            raise InputError(f"structure block:{self.rows}x{self.columns} has an empty block")

    def groups(self, kernels: Mapping[str, Shape]) -> list[Group]:
        found: list[Group] = []
        for path, shape in kernels.items():
            if len(shape) != 2:
                raise InputError(f"{path} has shape {shape}; blocks are for matrices")
            block = self.rows or shape[0], self.columns or shape[1]
            _check_divides(f"blocks of {block[0]} x {block[1]}", path, shape, block)
            scores = shape[0] // block[0], shape[1] // block[1]
            found.append(Group(path, scores, ((path, shape, None),)))
        return found


@dataclass(frozen=True)
class Shared(Granularity):
    """One vector of scores for slices of several kernels, which are pruned together.

    Hidden units of a feed-forward layer (columns of its first kernel with rows of its second), or
    attention heads with ``width`` = head size (Lagunas et al. 2021).

    Attributes:
      name: last key of the path of the scores, beside the kernels that share them.
      along: regular expression for the end of the path of each kernel, after the common parent,
        and the axis of the kernel along which the vector lies.
      width: consecutive entries of the axis per score.

    >>> units = Shared("units", (("in/kernel", 1), ("out/kernel", 0)))
    >>> group, = units.groups({"l0/in/kernel": (4, 6), "l0/out/kernel": (6, 4)})
    >>> group.path, group.shape, group.covers
    ('l0/units', (6,), 8)
    """

    name: str
    along: tuple[tuple[str, int], ...]
    width: int = 1

    def groups(self, kernels: Mapping[str, Shape]) -> list[Group]:
        members: dict[str, list[tuple[str, Shape, int]]] = {}
        for path, shape in kernels.items():
            parent, axis = self._place(path)
            members.setdefault(parent, []).append((path, shape, axis))
        return [self._group(parent, found) for parent, found in members.items()]

    def _place(self, path: str) -> tuple[str, int]:
        """Parent of a kernel's path, and the axis along which its scores lie."""
        for end, axis in self.along:
            match = re.fullmatch(f"(.*/|)(?:{end})", path)
            if match:
                return match.group(1), axis
        ends = ", ".join(end for end, _ in self.along)
        raise InputError(f"{path} cannot share scores called {self.name}: it must end in {ends}")

    def _group(self, parent: str, members: list[tuple[str, Shape, int]]) -> Group:
        sizes = {path: shape[axis] for path, shape, axis in members}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{path} {size}" for path, size in sizes.items())
            raise InputError(f"kernels that share {self.name} have different sizes: {found}")
        (path, size), *_ = sizes.items()
        if size % self.width:
            raise InputError(
                f"{path} has {size} features along axis {members[0][2]}, which {self.name} of "
                f"{self.width} do not divide"
            )
        return Group(f"{parent}{self.name}", (size // self.width,), tuple(members))


def _check_divides(divisor: str, path: str, shape: Shape, sizes: tuple[int, ...]) -> None:
    if any(length % size for length, size in zip(shape, sizes, strict=False)):
        whole = " x ".join(map(str, shape))
        raise InputError(
            f"{divisor} do not divide {path}, which is {whole} (inputs x outputs); "
            "choose sizes that divide it, or another --structure for it"
        )
