"""One flipped bit in a file of a run's checkpoints, after which its command is given again."""

from __future__ import annotations

import collections
import time
from pathlib import Path
from typing import Any

from experiments.reliability.fuzz import Worker
from experiments.reliability.targets import FLIPS

_PLACE = "experiments.reliability.targets:FLIPS"
_NAME = "continued"


def flips(root: Path, count: int, seed: int) -> dict[str, Any]:
    """Outcomes of `count` flips, each in a run of its own with two checkpoints.

    ``named``: the damaged checkpoint is named, the one before is used, and metrics and model equal
    those of a sound run. ``unused``: equal too, and nothing was said: the bit is in a file that was
    not needed. Any of ``silent``, ``traceback``, ``hang`` and ``died`` is a failure.
    """
    start, outcomes = time.perf_counter(), collections.Counter[str]()
    examples: dict[str, str] = {}
    worker = Worker(root, _PLACE)
    try:
        for number in range(count):
            outcome = worker.ask(1.5 * FLIPS[_NAME].seconds, _NAME, seed, number)
            assert outcome is not None
            kind = outcome.kind
            if kind == "ok":
                kind = "named" if _named(outcome.message) else "unused"
            outcomes[kind] += 1
            examples.setdefault(kind, f"{outcome.file}: {outcome.message.strip()[:400]}")
    finally:
        worker.close()
    bad = [k for k in outcomes if k not in ("named", "unused", "refused")]
    return {
        "flips": count, "outcomes": dict(outcomes), "examples": examples, "failures": bad,
        "seed": seed, "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip


def _named(notes: str) -> bool:
    """Whether notes of a command say that a checkpoint is not as it was written."""
    words = ("damaged", "other content", "cannot be read", "is missing")
    return any(
        "checkpoint" in line and any(w in line for w in words) for line in notes.splitlines()
    )
