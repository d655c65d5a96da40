"""Random numbers that are a pure function of a seed and a place, on every platform.

Only the raw 64-bit stream of Philox is used. NumPy promises never to change it, which it does not
promise for ``Generator.permutation`` and its like, so old runs can be continued by a new NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def raw(seed: int, stream: int, index: int, n: int) -> np.ndarray:
    """`n` random uint64 of stream number `stream` at `index` (epoch, row, ...)."""
    return np.asarray(_philox(seed, stream, index).random_raw(n), dtype=np.uint64)


def permutation(seed: int, stream: int, index: int, n: int) -> np.ndarray:
    """A random order of ``range(n)``, int64 (n,)."""
    return np.argsort(raw(seed, stream, index, n), kind="stable")


def uniform(seed: int, stream: int, index: int, n: int) -> np.ndarray:
    """`n` float64 in [0, 1), on the grid of 2**-53."""
    return (raw(seed, stream, index, n) >> np.uint64(11)) * 2.0**-53


class Dice:
    """A stream of random choices for generators of text.

    >>> dice = Dice(seed=1, stream=0, index=0)
    >>> dice.pick("abc") in "abc"
    True
    """

    def __init__(self, seed: int, stream: int, index: int) -> None:
        self._bits = _philox(seed, stream, index)
        self._numbers: list[int] = []

    def below(self, n: int) -> int:
        """A whole number in ``range(n)``."""
        if not self._numbers:
            self._numbers = np.asarray(self._bits.random_raw(64)).tolist()
        return self._numbers.pop() % n

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different items in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(k)]

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 cases."""
        return self.below(100) < percent


def _philox(seed: int, stream: int, index: int) -> np.random.Philox:
    low = 2**64 - 1
    return np.random.Philox(key=np.array([seed & low, ((stream << 48) ^ index) & low], np.uint64))
