"""Order of a folder's classes, found by their names in ``config.json``."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log

_SAYS_NOTHING = re.compile(r"(label|class)?[\W_]*\d+", re.IGNORECASE)
# Other names of a class, in the form of `_plain`.
_SAME = (
    {"negative", "neg", "bad"},
    {"positive", "pos", "good"},
    {"duplicate", "isduplicate", "same"},
    {"notduplicate", "different"},
    {"equivalent", "paraphrase", "isequivalent"},
    {"notequivalent", "notparaphrase"},
    {"entailment", "entail", "entailed", "yes", "true"},
    {"notentailment", "notentail", "notentailed", "no", "false"},
    {"acceptable", "grammatical"},
    {"unacceptable", "ungrammatical"},
    {"contradiction", "contradict", "contradictory"},
)


def says_nothing(names: Sequence[str]) -> bool:
    """Whether names tell no class: ``LABEL_0``, ``class 1``, ``2``.

    >>> says_nothing(["LABEL_0", "LABEL_1"]), says_nothing(["neg", "pos"])
    (True, False)
    """
    return all(_SAYS_NOTHING.fullmatch(name.strip()) for name in names)


def folder_order(
    stored: Sequence[str], asked: Sequence[str], places: Mapping[str, int] | None, folder: Path
) -> tuple[int, ...]:
    """Index in a folder's classifier of every class that is asked for.

    Names decide where they match. Names that tell nothing, or something else, are taken in the
    folder's order, with a warning.

    Args:
      stored: names in ``config.json``, in the order of the logits.
      asked: as many names.
      places: index of every name in ``asked``, where the user says it.

    Raises:
      InputError: ``places`` that the folder's own names contradict.
    """
    named = order_of(stored, asked)
    if places is not None:
        given = tuple(places[name] for name in asked)
        if named is not None and named != given:
            raise InputError(
                f"--labels {_line(sorted(asked, key=lambda name: places[name]))} contradicts "
                f"id2label in the config.json of {folder}, {_line(stored)}; leave it out, or "
                "correct that file"
            )
        return given
    if named is not None:
        return named
    if len(asked) > 1:
        why = "does not say what its classes are" if says_nothing(stored) else "has other classes"
        log.warning(
            "%s %s (%s in its config.json); they are taken for %s, in this order: check the score, "
            "or give mpjax evaluate --labels in the right one",
            shown(folder), why, _line(stored), _line(asked),
        )  # fmt: skip
    return tuple(range(len(asked)))


def _line(names: Sequence[str]) -> str:
    return shown(",".join(names))


def order_of(stored: Sequence[str], asked: Sequence[str]) -> tuple[int, ...] | None:
    """Index in ``stored`` of every name in ``asked``; None unless all are found, each once.

    Names that are not the same are compared without case, spaces and punctuation: in full, then by
    other names of a class, then as unique beginnings of one another.

    >>> order_of(["contra", "ent", "neu"], ["entailment", "neutral", "contradiction"])
    (1, 2, 0)
    >>> order_of(["LABEL_0", "LABEL_1"], ["negative", "positive"]) is None
    True

    >>> order_of(["-1", "+1"], ["+1", "-1"])
    (1, 0)

    Numbers in another order than theirs are the classes' own:

    >>> order_of(["1", "0"], ["negative", "positive"])
    (1, 0)
    """
    if len(set(stored)) == len(stored) and sorted(stored) == sorted(asked):
        return tuple(list(stored).index(name) for name in asked)
    count = [str(i) for i in range(len(asked))]
    if sorted(stored) == sorted(count) and list(stored) != count and not says_nothing(asked):
        return tuple(list(stored).index(number) for number in count)
    have, want = [_plain(name) for name in stored], [_plain(name) for name in asked]
    if len(have) != len(want) or len(set(have)) < len(have) or len(set(want)) < len(want):
        return None
    found: dict[int, int] = {}  # place in asked: place in stored
    for same in (_equal, _synonyms, _begins):
        left = [j for j in range(len(have)) if j not in found.values()]
        open_ = [i for i in range(len(want)) if i not in found]
        pairs = [(i, j) for i in open_ for j in left if same(have[j], want[i])]
        for i, j in pairs:
            if sum(i == a for a, _ in pairs) == 1 == sum(j == b for _, b in pairs):
                found[i] = j
    return tuple(found[i] for i in range(len(want))) if len(found) == len(want) else None


def _plain(name: str) -> str:
    """Lower case, letters and digits only; what the name says with a sign keeps it.

    >>> _plain("Not_Equivalent"), _plain("non-entailment")
    ('notequivalent', 'notentailment')
    """
    text = re.sub(r"[\W_]+", "", name.lower())
    return re.sub(r"^non(?=[a-z])", "not", text)


def _equal(one: str, other: str) -> bool:
    return one == other


def _synonyms(one: str, other: str) -> bool:
    return any(one in names and other in names for names in _SAME)


def _begins(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return bool(short) and long.startswith(short)
