"""Counter-based random numbers: pure functions of (seed, stream, index) on every platform.

Only the raw 64-bit stream of Philox (Salmon et al. 2011) is used. NumPy guarantees it across
versions, but not ``Generator.permutation`` and the like, so a run can resume under a newer NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def raw(seed: int, stream: int, index: int, n: int) -> np.ndarray:
    """`n` random uint64 of a stream at `index` (epoch, row, ...)."""
    return np.asarray(_philox(seed, stream, index).random_raw(n), dtype=np.uint64)


def permutation(seed: int, stream: int, index: int, n: int) -> np.ndarray:
    """Random permutation of ``range(n)``, int64 (n,)."""
    return np.argsort(raw(seed, stream, index, n), kind="stable")


def uniform(seed: int, stream: int, index: int, n: int) -> np.ndarray:
    """`n` float64 in [0, 1), multiples of 2**-53."""
    return (raw(seed, stream, index, n) >> np.uint64(11)) * 2.0**-53


class Dice:
    """Random choices for text generators.

    >>> dice = Dice(seed=1, stream=0, index=0)
    >>> dice.pick("abc") in "abc"
    True
    """

    def __init__(self, seed: int, stream: int, index: int) -> None:
        self._bits = _philox(seed, stream, index)
        self._numbers: list[int] = []

    def below(self, n: int) -> int:
        """Integer in ``range(n)``."""
        if not self._numbers:
            self._numbers = np.asarray(self._bits.random_raw(64)).tolist()
        return self._numbers.pop() % n

    def pick(self, items: Sequence[T]) -> T:
        """One item."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` distinct items in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(k)]

    def chance(self, percent: int) -> bool:
        """True with probability `percent` / 100."""
        return self.below(100) < percent


def _philox(seed: int, stream: int, index: int) -> np.random.Philox:
    low = 2**64 - 1
    return np.random.Philox(key=np.array([seed & low, ((stream << 48) ^ index) & low], np.uint64))
