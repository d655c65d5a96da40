"""Faults of question files: collected, listed all at once, and counted after a repair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log

_NAMED = 3  # places of a kind in a message


class Fault(NamedTuple):
    """One fault: kind in the plural, record, whole sentence, and whether it could be mended."""

    kind: str
    record: str
    message: str
    mended: bool


@dataclass
class Faults:
    """Faults of a file in the order in which they were met."""

    source: str
    found: list[Fault] = field(default_factory=list)

    def add(self, kind: str, record: str, message: str, mended: bool = False) -> None:
        """Notes a fault; ``message`` is a whole sentence without its place."""
        self.found.append(Fault(kind, shown(record, 40), message, mended))

    def settle(self, repair: bool, questions: int) -> None:
        """Says what was mended and left out; raises `InputError` without ``repair``.

        Args:
          questions: read, the faulty ones that were mended among them.
        """
        if not self.found:
            return
        mended = [fault for fault in self.found if fault.mended]
        others = [fault for fault in self.found if not fault.mended]
        if repair:
            for what, faults in (("mended", mended), ("left out", others)):
                if faults:
                    log.warning(
                        "%s: %s: %s", shown(self.source), what, shown(_counted(faults), 800)
                    )
            return
        remedy = (
            f"correct the file, or give --repair, which mends {len(mended)} and leaves out "
            f"{len(others)}"
        )
        if len(self.found) == 1:
            raise InputError(f"{shown(self.found[0].message, 500)}; {remedy}")
        raise InputError(
            f"{shown(self.source)}: {len(self.found)} faults, {questions} questions can be read: "
            f"{shown(_counted(self.found), 450)}; the first: {shown(self.found[0].message, 200)}; "
            f"{remedy}"
        )


def _counted(faults: list[Fault]) -> str:
    """Counts by kind, with the first places: ``2 ids used twice (q1, q7)``."""
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault.record)
    return "; ".join(
        f"{len(records)} {kind} ({', '.join(records[:_NAMED])}"
        f"{', ...' if len(records) > _NAMED else ''})"
        for kind, records in kinds.items()
    )
