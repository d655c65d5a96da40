"""Memory of a command over its time: resident, heap in use, and heap that is free but kept.

    python -m experiments.bench.memory [--keep-holes] [--json FILE] \\
        train --model DIR --task sst2 …

It runs the ``mpjax`` command in this process and looks twice a second, and at the beginning and the
end of every compilation. ``--keep-holes`` leaves out `give_back_after_compiling` and `Temporaries`.
Compilation is what differs between a first and a second run, so give an empty ``--cache`` each
time. Of a long run the file has the highest record of each of some 200 intervals. glibc only.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.paper.receipt import without_paths
from mpjax import cli, hostmemory
from mpjax.files import write_json
from mpjax.runs.provenance import provenance

_EVERY = 0.5  # seconds
_INTERVALS = 200


class Watch:
    """Records of the memory: seconds, resident, in use and free MB, and what goes on."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._begun, self._doing = time.perf_counter(), "starting"

    def look(self) -> None:
        """Adds a record."""
        heap, pages = hostmemory.heap(), Path("/proc/self/statm").read_text().split()[1]
        assert heap is not None, "glibc 2.33 or later"
        self.records.append({
            "seconds": round(time.perf_counter() - self._begun, 1),
            "resident_mb": int(pages) * os.sysconf("SC_PAGE_SIZE") // 10**6,
            "in_use_mb": (heap.uordblks + heap.hblkhd) // 10**6,
            "free_mb": heap.fordblks // 10**6,
            "doing": self._doing,
        })  # fmt: skip

    def follow(self) -> None:
        """Looks for ever, in a thread of its own."""
        while True:
            self.look()
            time.sleep(_EVERY)

    def compiled(self, event: str, duration_secs: float, **about: Any) -> None:
        """Listener of `jax.monitoring`: looks after a compilation."""
        if event == hostmemory._COMPILED and duration_secs > 0.2:
            self._doing = f"compiled {about.get('fun_name', 'a program')}"
            self.look()
            self._doing = "running"


def thinned(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The record of most resident memory of each of `_INTERVALS` equal intervals.

    >>> thinned([{"seconds": x, "resident_mb": x % 7} for x in range(1000)])[:2]
    [{'seconds': 4, 'resident_mb': 4}, {'seconds': 6, 'resident_mb': 6}]
    """
    width = records[-1]["seconds"] / _INTERVALS or 1.0
    highest: dict[int, dict[str, Any]] = {}
    for record in records:
        at = int(record["seconds"] / width)
        if at not in highest or record["resident_mb"] > highest[at]["resident_mb"]:
            highest[at] = record
    return list(highest.values())


def main(argv: Sequence[str]) -> int:
    """Runs a command and prints where its memory was highest; returns its status."""
    words, watch = list(argv), Watch()
    keep = "--keep-holes" in words[:3]
    output = Path(words[words.index("--json") + 1]) if "--json" in words[:3] else None
    words = words[keep + 2 * (output is not None) :]
    if keep:
        hostmemory._LONG, hostmemory._LARGE = math.inf, sys.maxsize
    hostmemory.keep_freed_memory()  # as the command does, before JAX starts its threads
    import jax

    threading.Thread(target=watch.follow, daemon=True).start()
    jax.monitoring.register_event_duration_secs_listener(watch.compiled)
    status = cli.main(words)
    highest = max(watch.records, key=lambda record: record["resident_mb"])
    print(json.dumps({"highest": highest}))
    if output is not None:
        about = {**provenance(), "cpus": os.cpu_count()}
        found = {"keep_holes": keep, "provenance": about}
        found = {**found, "highest": highest, "records": thinned(watch.records)}
        write_json(output, without_paths(found))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
