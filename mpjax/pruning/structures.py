"""Structures: granularity of the scores by kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mpjax.errors import InputError
from mpjax.pruning.axes import Kernel
from mpjax.pruning.granularities import Element, Granularity, Group
from mpjax.pruning.trees import compiled


@dataclass(frozen=True)
class Part:
    """Granularity of the kernels whose path matches, and the factor of λ for their scores.

    Attributes:
      where: regular expression for the whole path of a kernel, and of the scores it gets.
      granularity: weights per score.
      penalty: factor of λ.
    """

    where: str
    granularity: Granularity
    penalty: float = 1.0

    def __post_init__(self) -> None:
        compiled(self.where, "where of a part")
        if isinstance(self.granularity, str):  # pyright: ignore
            raise InputError(
                f"the granularity of a part is the text {self.granularity!r}; give one of "
                "mpjax.pruning, as Block(2, 2) or NofM(2, 4)"
            )

    def matches(self, path: str) -> bool:
        return compiled(self.where, "where of a part").fullmatch(path) is not None


@dataclass(frozen=True)
class Structure:
    """Granularity of every kernel: that of the first part that matches, else one score per weight.

    >>> from mpjax.pruning.granularities import Block
    >>> structure = Structure((Part("attention/.*", Block(2, 2)),))
    >>> axes = ("input", "output")
    >>> kernels = {"attention/kernel": Kernel((4, 6), axes), "ffn/kernel": Kernel((6, 2), axes)}
    >>> [(group.path, group.shape) for group in structure.groups(kernels)]
    [('attention/kernel', (2, 3)), ('ffn/kernel', (6, 2))]
    """

    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        # A comma is easily left out of (part,).
        if not isinstance(self.parts, tuple):  # pyright: ignore
            raise InputError(f"parts are {self.parts!r}; give a tuple of Part, as (Part(…),)")

    def groups(self, kernels: Mapping[str, Kernel]) -> list[Group]:
        """Score arrays of kernels by path.

        Raises:
          InputError: the granularity of a part does not divide a kernel, or a part matches none.
        """
        shares: list[dict[str, Kernel]] = [{} for _ in (*self.parts, None)]
        for path, kernel in kernels.items():
            shares[self._part(path)][path] = kernel
        found: list[Group] = []
        for part, share in zip(self.parts, shares, strict=False):
            if not share:
                raise InputError(
                    f"structure: {part.where!r} matches no kernel that an earlier part has left; "
                    f"the kernels are {', '.join(list(kernels)[:5])}"
                )
        for number, share in enumerate(shares):
            here = self.parts[number].granularity if number < len(self.parts) else Element()
            for group in here.groups(share):
                if self._part(group.path) != number:
                    raise InputError(
                        f"scores {group.path} are not matched by the part of their kernels, "
                        f"{self.parts[number].where!r}"
                    )
                found.append(group)
        return found

    def penalty_factor(self, path: str) -> float:
        """Factor of λ of the scores at a path."""
        number = self._part(path)
        return self.parts[number].penalty if number < len(self.parts) else 1.0

    def _part(self, path: str) -> int:
        """Index of the first part that matches; their number for none."""
        matching = (i for i, part in enumerate(self.parts) if part.matches(path))
        return next(matching, len(self.parts))


ELEMENT = Structure()
