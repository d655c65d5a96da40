"""Granularities: weights that share a score, from single weights to blocks, rows, heads and units.

A granularity maps kernels to arrays of scores: how many, of which shapes, and along which axes. It
is data; rules do not know of it. Kernels are seen as matrices of (inputs, outputs), see `axes`: a
row belongs to an input feature, a column to an output feature. PyTorch's matrices are transposed.

Blocks, and vectors shared by several kernels, are those of Lagunas et al. (2021), "Block Pruning
For Faster Transformers", arXiv 2109.04838. Their "hybrid" models have 32 x 32 blocks in the
attention matrices and one score per hidden unit of the feed-forward layer (`Shared`).
"""

from __future__ import annotations

import abc
import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mpjax.errors import InputError
from mpjax.pruning.axes import Kernel, Shape, known


class Member(NamedTuple):
    """Kernel masked by an array of scores.

    Attributes:
      path: of the kernel.
      kernel: its shape and axes.
      axis: 0 (inputs) or 1 (outputs) of its matrices, along which a vector of scores lies; None for
        a score for every weight or block.
    """

    path: str
    kernel: Kernel
    axis: int | None = None


@dataclass(frozen=True)
class Group:
    """One array of scores and the kernels that it masks.

    Attributes:
      path: of the scores, ``/``-joined.
      shape: of the scores: that of the kernel for a score per weight, else (*stack, …).
      kernels: kernels masked.
      stack: axes of the scores along which the layers of a stack lie.
      runs: N:M granularity whose runs of M scores are ranked apart; None for one ranking.
    """

    path: str
    shape: Shape
    kernels: tuple[Member, ...]
    stack: tuple[int, ...] = ()
    runs: NofM | None = None

    @property
    def layers(self) -> int:
        """Number of score matrices, each with a cut of its own under local scope."""
        return math.prod(self.shape[axis] for axis in self.stack)

    @property
    def size(self) -> int:
        """Number of scores in a matrix."""
        return math.prod(self.shape) // max(self.layers, 1)

    @property
    def covers(self) -> int:
        """Weights masked by one score of the group; 1 in one without entries."""
        scores = math.prod(self.shape)
        return sum(math.prod(m.kernel.shape) for m in self.kernels) // scores if scores else 1

    @property
    def per_weight(self) -> bool:
        """Whether every weight of one kernel has a score, in the shape of the kernel."""
        return len(self.kernels) == 1 and self.kernels[0].kernel.shape == self.shape


class Granularity(abc.ABC):
    """Divides kernels into groups of weights that share a score."""

    @abc.abstractmethod
    def groups(self, kernels: Mapping[str, Kernel]) -> list[Group]:
        """Score arrays of kernels given by path.

        Raises:
          InputError: the sizes do not divide a kernel; names it and both sizes.
        """


@dataclass(frozen=True)
class Element(Granularity):
    """One score per weight, for kernels of any shape (unstructured pruning).

    >>> Element().groups({"a/kernel": Kernel((4, 6), ("input", "output"))})[0].shape
    (4, 6)
    """

    def groups(self, kernels: Mapping[str, Kernel]) -> list[Group]:
        return [
            Group(path, kernel.shape, (Member(path, kernel),), kernel.stack)
            for path, kernel in kernels.items()
        ]


@dataclass(frozen=True)
class NofM(Element):
    """N:M sparsity: one score per weight, ``n`` kept of each ``m`` consecutive inputs.

    Runs lie along the inputs, within one output feature, as sparse tensor cores expect them.

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

    def groups(self, kernels: Mapping[str, Kernel]) -> list[Group]:
        for path, kernel in kernels.items():
            _check_divides(f"{self.m} consecutive inputs", path, kernel, (self.m, 1))
        return [dataclasses.replace(group, runs=self) for group in super().groups(kernels)]


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

    >>> kernels = {"a/kernel": Kernel((4, 6), ("input", "output"))}
    >>> Block(2, 3).groups(kernels)[0].shape, Block(1, None).groups(kernels)[0].shape
    ((2, 2), (4, 1))
    """

    rows: int | None
    columns: int | None

    def __post_init__(self) -> None:
        if min(self.rows or 1, self.columns or 1) < 1 or 0 in (self.rows, self.columns):
            raise InputError(f"structure block:{self.rows}x{self.columns} has an empty block")

    def groups(self, kernels: Mapping[str, Kernel]) -> list[Group]:
        found: list[Group] = []
        for path, kernel in kernels.items():
            *stack, inputs, outputs = known(path, kernel).matrices
            block = self.rows or inputs, self.columns or outputs
            _check_divides(f"blocks of {block[0]} x {block[1]}", path, kernel, block)
            scores = (*stack, inputs // block[0], outputs // block[1])
            found.append(Group(path, scores, (Member(path, kernel),), tuple(range(len(stack)))))
        return found


@dataclass(frozen=True)
class Shared(Granularity):
    """One vector of scores for slices of several kernels, which are pruned together.

    Hidden units of a feed-forward layer (columns of its first kernel with rows of its second), or
    attention heads with ``width`` = head size (Lagunas et al. 2021).

    Attributes:
      name: last key of the path of the scores, beside the kernels that share them.
      along: regular expression for the end of the path of each kernel, after the common parent,
        and where the vector lies: 0, along the inputs, or 1, along the outputs.
      width: consecutive features per score.

    >>> units = Shared("units", (("in/kernel", 1), ("out/kernel", 0)))
    >>> axes = ("input", "output")
    >>> kernels = {"l0/in/kernel": Kernel((4, 6), axes), "l0/out/kernel": Kernel((6, 4), axes)}
    >>> group, = units.groups(kernels)
    >>> group.path, group.shape, group.covers
    ('l0/units', (6,), 8)
    """

    name: str
    along: tuple[tuple[str, int], ...]
    width: int = 1

    def __post_init__(self) -> None:
        if self.width < 1:
            raise InputError(f"{self.name} of width {self.width}; use 1 or more")

    def groups(self, kernels: Mapping[str, Kernel]) -> list[Group]:
        members: dict[str, list[Member]] = {}
        for path, kernel in kernels.items():
            parent, axis = self._place(path)
            members.setdefault(parent, []).append(Member(path, known(path, kernel), axis))
        return [self._group(parent, found) for parent, found in members.items()]

    def _place(self, path: str) -> tuple[str, int]:
        """Parent of a kernel's path, and the axis along which its scores lie."""
        for end, axis in self.along:
            match = re.fullmatch(f"(.*/|)(?:{end})", path)
            if match:
                return match.group(1), axis
        ends = ", ".join(end for end, _ in self.along)
        raise InputError(f"{path} cannot share scores called {self.name}: it must end in {ends}")

    def _group(self, parent: str, members: list[Member]) -> Group:
        sizes: dict[str, Shape] = {}
        for path, kernel, axis in members:
            *stack, inputs, outputs = kernel.matrices
            sizes[path] = (*stack, outputs if axis else inputs)
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{path} {' x '.join(map(str, n))}" for path, n in sizes.items())
            raise InputError(f"kernels that share {self.name} have different sizes: {found}")
        (path, (*stack, size)), *_ = sizes.items()
        if size % self.width:
            raise InputError(
                f"{path} has {size} features along axis {members[0].axis}, which {self.name} of "
                f"{self.width} do not divide"
            )
        shape = (*stack, size // self.width)
        return Group(f"{parent}{self.name}", shape, tuple(members), tuple(range(len(stack))))


def _check_divides(divisor: str, path: str, kernel: Kernel, sizes: tuple[int, int]) -> None:
    matrix = known(path, kernel).matrices[-2:]
    if any(length % size for length, size in zip(matrix, sizes, strict=True)):
        whole = " x ".join(map(str, matrix))
        raise InputError(
            f"{divisor} do not divide {path}, which is {whole} (inputs x outputs); "
            "choose sizes that divide it, or another --structure for it"
        )
