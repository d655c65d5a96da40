"""Labels of classes: found in the rows, in a fixed order, and looked up by name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from unicodedata import category

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.tasks.own.places import places

MOST_LABELS = 1_000
_LONGEST = 200  # characters of a label
_BREAKS = ("Cc", "Zl", "Zp")  # control characters, line and paragraph separators
_FEW_ROWS, _LARGE_SHARE = 10, 0.9  # of a class, for a note


def label_text(value: Any, names: Sequence[str] = ()) -> str | None:
    """Label of a cell as text, None for no label; a number of a declared class is its name.

    >>> [label_text(x) for x in (" good ", 3, 3.0, "", None, float("nan"))]
    ['good', '3', '3', None, None, None]
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, int) and names and value < 0:  # hub test sets have -1 for no label
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None


def find_labels(found: Iterable[str], declared: Sequence[str] = ()) -> tuple[str, ...]:
    """Different labels: in declared order, else by value if all are numbers, else by name.

    Numbers of equal value, such as 3 and 3.0, are one label under the shorter name.

    >>> find_labels(["10", "9", "9.0"]), find_labels(["b", "a", "10"])
    (('9', '10'), ('10', 'a', 'b'))
    """
    texts = sorted(set(found))
    numbers = {text: number(text) for text in texts}
    if declared and set(texts) <= set(declared):
        return tuple(name for name in declared if name in numbers)
    if any(value is None for value in numbers.values()):
        return tuple(texts)
    shortest: dict[float | None, str] = {}
    for text in sorted(texts, key=lambda text: (len(text), text)):
        shortest.setdefault(numbers[text], text)
    return tuple(shortest[value] for value in sorted(v for v in shortest if v is not None))


def number(text: str) -> float | None:
    """Finite number that a text writes, None for another text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None  # Python reads 1_000


def lookup(labels: Sequence[str]) -> dict[str | float, int]:
    """Index of every label by its name, and by its value where all are numbers."""
    by_name: dict[str | float, int] = {name: i for i, name in enumerate(labels)}
    values = [number(name) for name in labels]
    known = [value for value in values if value is not None]
    if len(set(known)) == len(labels):
        by_name |= {value: i for i, value in enumerate(known)}
    return by_name


def index_of(text: str, table: Mapping[str | float, int]) -> int | None:
    """Index of a label in a `lookup`, None for an unknown one."""
    if text in table:
        return table[text]
    value = number(text)
    return None if value is None else table.get(value)


def check_labels(labels: Sequence[str], counts: Mapping[str, int], source: str) -> None:
    """Checks the labels of a training set, and notes those with few rows.

    Args:
      counts: rows by label.

    Raises:
      InputError: one label only, so many that they are no classes, or one that no file can hold.
    """
    rows = sum(counts.values())
    if len(labels) < 2:
        raise InputError(
            f"{source}: all {rows} rows have the label {shown(repr(labels[0]))}; a classifier "
            "needs two labels or more (scoring takes all of them as --labels A,B)"
        )
    if len(labels) > MOST_LABELS or (len(labels) > 20 and 2 * len(labels) > rows):
        few = ", ".join(labels[:3])
        raise InputError(
            f"{source}: {len(labels)} different labels in {rows} rows ({shown(few)}, ...) are no "
            "classes; name the column of the classes with --label, or for numbers use "
            "--task regression"
        )
    for name in labels:
        if len(name) > _LONGEST or any(category(one) in _BREAKS for one in name):
            raise InputError(
                f"{source}: the label {shown(repr(name))} is longer than {_LONGEST} characters or "
                "holds a tab or line break; rename it, or name another column with --label"
            )
    _note_balance(labels, counts, rows, source)


def unknown_labels(
    found: Sequence[tuple[str, int]], labels: Sequence[str], source: str, unit: str
) -> InputError:
    """Error about labels of a file that a model was not trained on.

    Args:
      found: unknown labels, each with its line number.
    """
    counts = Counter(text for text, _ in found)
    text, _ = counts.most_common(1)[0]
    lines = [line for other, line in found if other == text]
    more = f", and {len(counts) - 1} more unknown labels" if len(counts) > 1 else ""
    return InputError(
        f"{source}: the label {shown(repr(text), 60)} of {places(lines, unit)} is unknown{more}; "
        f"the labels are {shown(', '.join(labels))}. Correct it, or train on rows that have it"
    )


def _note_balance(labels: Sequence[str], counts: Mapping[str, int], rows: int, source: str) -> None:
    largest = max(labels, key=lambda name: counts.get(name, 0))
    share = counts.get(largest, 0) / rows
    if share > _LARGE_SHARE:
        log.warning(
            "%s: %.1f%% of the rows have the label %s, so that a model which always says so scores "
            "as much accuracy; --metric macro_f1 and --class-weights balanced may help",
            source, 100 * share, shown(largest),
        )  # fmt: skip
    rare = [f"{shown(name)} ({counts.get(name, 0)})" for name in labels
            if counts.get(name, 0) < _FEW_ROWS]  # fmt: skip
    if rare:
        log.warning(
            "%s: %d of %d labels have fewer than %d rows: %s",
            source, len(rare), len(labels), _FEW_ROWS, shown(", ".join(rare)),
        )  # fmt: skip
