"""A process that reads damaged files, one request a line: `[target, seed, number]` or `[target]`.

    python -m experiments.reliability.worker ROOT MODULE:TABLE

It answers with one JSON line each. Its parent ends it when it hangs, and starts another.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

from experiments.reliability.target import Bench, Target

# Of private memory. A reader that asks for more gets a MemoryError, and the machine survives.
LIMIT = 6_000_000_000


def table(place: str) -> Mapping[str, Target]:
    """Targets by name, from ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def main(root: str, place: str) -> None:
    """Answers requests until the input ends."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    targets, benches = table(place), {}
    for line in sys.stdin:
        name, *which = json.loads(line)
        bench = benches.get(name) or benches.setdefault(
            name, Bench(name, targets[name], Path(root).absolute())
        )
        answer = list(bench.outcome(*bench.spoil(*which))) if which else []
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
