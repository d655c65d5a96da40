"""Encoded data sets of growing size: seconds, bytes on disk and memory.

Rows are sentences of random words as SST-2 has them (mean 10 words), encoded by the tokenizer of
the built-in language. Each size runs in a process of its own, once through the cache and once in
memory, as ``--cache none`` does. Memory is anonymous memory, which no system can take back
(RssAnon of Linux); mapped pages of files are left out, since they leave when others need the room.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mpjax.report import render

BATCH, STEPS = 64, 500
ONE_PROCESS = "from experiments.bench.data import measured; measured({rows}, {length}, {mapped})"
COLUMNS = {
    "rows": "rows", "kept": "arrays", "read_s": "read s", "rows_mb": "rows MB",
    "encode_s": "tokenise s", "encode_mb": "peak MB", "disk_mb": "disk MB", "open_s": "open s",
    "rows_per_s": "batch rows/s", "batches_mb": "MB while batching",
}  # fmt: skip


def run(sizes: list[int], length: int) -> list[dict[str, Any]]:
    """Measures every size, mapped and in memory; prints the table and returns its rows."""
    result = []
    for rows in sizes:
        for mapped in (True, False):
            result.append(in_own_process(rows, length, mapped))
            print(json.dumps(result[-1]), file=sys.stderr, flush=True)
    print(f"sentences, padded to {length} tokens; batches of {BATCH}; MB of 10^6 bytes, anonymous")
    print(render([*COLUMNS.values()], [[_text(row.get(key)) for key in COLUMNS] for row in result]))
    return result


def in_own_process(rows: int, length: int, mapped: bool) -> dict[str, Any]:
    """Numbers of one size, measured in a process of its own."""
    code = ONE_PROCESS.format(rows=rows, length=length, mapped=mapped)
    out = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return json.loads(out.stdout.splitlines()[-1])


def measured(rows: int, length: int, mapped: bool) -> None:
    """Measures one size in this process, and prints the numbers as a line of JSON."""
    from mpjax import tasks
    from mpjax.tasks import cache, demo

    task, tokenizer = tasks.get("sst2"), demo.tokenizer()
    found: dict[str, Any] = {"rows": rows, "kept": "mapped" if mapped else "in memory"}
    with tempfile.TemporaryDirectory() as place:
        _write_sentences(Path(place) / "train.tsv", rows)
        folder = Path(place) / "cache" if mapped else None
        tokenizer(["warm"])
        with _watched(found, "read_s", "rows_mb"):
            read = task.read(place, "train")
        with _watched(found, "encode_s", "encode_mb"):
            encoded = cache.encode(task, read, tokenizer, length, folder)
        if folder is not None:
            [file] = folder.iterdir()
            found["disk_mb"] = file.stat().st_size / 1e6
            with _watched(found, "open_s", "open_mb"):
                encoded = cache.encode(task, read, tokenizer, length, folder)
        del read
        found |= _batches(encoded)
    print(json.dumps(found))


def _batches(encoded: Any) -> dict[str, Any]:
    """Rows per second of training batches, and the memory that they add."""
    from mpjax.tasks.batches import Batches

    found: dict[str, Any] = {}
    batches = Batches(encoded, BATCH, seed=0)
    with _watched(found, "epoch_s", "batches_mb"):
        batches.rows(0)  # draws the order of the epoch, once
        begin = time.perf_counter()
        for step in range(STEPS):
            batches.batch(step)
    return {**found, "rows_per_s": BATCH * STEPS / (time.perf_counter() - begin)}


def _write_sentences(path: Path, rows: int) -> None:
    from mpjax.tasks import demo

    words = np.array([word for word in demo.tokenizer().get_vocab() if word.isalpha()])
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("sentence\tlabel\n")
        for i in range(rows):
            chosen = words[rng.integers(len(words), size=1 + rng.poisson(9))]
            file.write(f"{' '.join(chosen)}\t{i % 2}\n")


@contextmanager
def _watched(found: dict[str, Any], seconds: str, megabytes: str) -> Iterator[None]:
    """Notes the seconds of a block, and by how much its memory exceeded that before it."""
    before, peak, done = _anonymous(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    yield
    found[seconds] = time.perf_counter() - begin
    done.set()
    watcher.join()
    found[megabytes] = max(peak[0], _anonymous()) - before


def _anonymous() -> float:
    """Anonymous memory of this process, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(x.split()[1]) / 1e6 for x in lines if x.startswith("RssAnon"))


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
