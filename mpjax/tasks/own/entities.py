"""Entities of tagged words, and their precision, recall and F1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Entity = tuple[str, int, int]  # type, first word, last word
OUTSIDE = "O"
_TAG = re.compile(r"[BIESLU]-.+")
_GOES_ON, _ENDS = ("I", "E", "L"), ("E", "L", "S", "U")


def has_entities(labels: Iterable[str]) -> bool:
    """Whether labels have the form of IOB tags: O, and B- or I- with a type.

    >>> has_entities(["O", "B-PER", "I-PER"]), has_entities(["NOUN", "VERB"])
    (True, False)
    """
    names = set(labels) - {OUTSIDE}
    tags = any(name[:2] in ("B-", "I-") for name in names)
    return tags and all(_TAG.fullmatch(name) for name in names)


def entities(tags: Sequence[str]) -> set[Entity]:
    """Entities of the tags of a sentence, as seqeval reads them by default, and conlleval.

    A tag I- of the type before it goes on with the entity; after O or another type it begins one.
    So IOB2 and IOB1 are read alike. E- and L- end an entity, S- and U- are one of a single word.

    >>> sorted(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
    [('LOC', 3, 3), ('LOC', 4, 4), ('PER', 0, 1)]
    """
    found: set[Entity] = set()
    kind, begin = "", -1  # of the open entity, -1 for none
    for i, tag in enumerate([*tags, OUTSIDE]):
        prefix, _, name = tag.partition("-")
        if begin >= 0 and not (prefix in _GOES_ON and name == kind):
            found.add((kind, begin, i - 1))
            begin = -1
        if tag != OUTSIDE and begin < 0:
            kind, begin = name, i
        if prefix in _ENDS and begin >= 0:
            found.add((kind, begin, i))
            begin = -1
    return found


def entity_scores(
    predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]
) -> dict[str, float]:
    """F1, precision and recall of all entities, in percent; type and both ends must be equal.

    >>> entity_scores([["B-PER", "O"]], [["B-PER", "B-LOC"]])["recall"]
    50.0
    """
    pairs = [(entities(guess), entities(true)) for guess, true in zip(predicted, gold, strict=True)]
    both = sum(len(guess & true) for guess, true in pairs)
    guessed, known = (sum(len(pair[i]) for pair in pairs) for i in (0, 1))
    return {
        "f1": 200.0 * both / (guessed + known) if both else 0.0,
        "precision": 100.0 * both / guessed if both else 0.0,
        "recall": 100.0 * both / known if both else 0.0,
    }
