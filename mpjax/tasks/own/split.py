"""Seeded split of rows into train and dev."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from mpjax.tasks import seeds

_SPLIT = 41  # random stream


def split_rows(
    keys: Sequence[Hashable], strata: Sequence[int], share: float, seed: int
) -> tuple[list[int], list[int]]:
    """Indices of train and dev rows, each in the order of the rows.

    Rows of one key go to the same side, so that no text is in both. Of each stratum about the same
    share of keys goes to dev, drawn from (seed, stratum) alone.

    Args:
      keys: text of each row.
      strata: class of each row.
      share: of the keys that go to dev; at least one does, and one of a stratum stays.

    >>> train, dev = split_rows(list("abcdefgh"), [0, 0, 0, 0, 1, 1, 1, 1], share=0.25, seed=0)
    >>> len(train), len(dev), sorted(train + dev) == list(range(8))
    (6, 2, True)
    """
    stratum: dict[Hashable, int] = {}
    for key, value in zip(keys, strata, strict=True):
        stratum.setdefault(key, value)
    members: dict[int, list[Hashable]] = {}
    for key, value in stratum.items():
        members.setdefault(value, []).append(key)
    chosen: set[Hashable] = set()
    for value in sorted(members):
        own = members[value]
        count = min(round(share * len(own)), len(own) - 1)
        order = seeds.permutation(seed, _SPLIT, value, len(own))
        chosen.update(own[i] for i in order[:count].tolist())
    if not chosen:
        largest = max(members.values(), key=len)
        if len(largest) > 1:
            chosen.add(largest[int(seeds.permutation(seed, _SPLIT, 0, len(largest))[0])])
    train = [i for i, key in enumerate(keys) if key not in chosen]
    return train, [i for i, key in enumerate(keys) if key in chosen]
