"""Runs damaged inputs through every target and counts the outcomes."""

from __future__ import annotations

import base64
import collections
import json
import math
import os
import queue
import re
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.reliability.target import OUTCOMES, Bench, Outcome, Target
from experiments.reliability.worker import table
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.report.table import render

TABLE = "experiments.reliability.targets:TARGETS"
_START = 300.0  # seconds for imports, sound files and the first read of a target
_KEPT = 2  # inputs kept of each way to fail


class Worker:
    """A worker process that is replaced when it dies or hangs."""

    def __init__(self, root: Path, place: str) -> None:
        self._command = [sys.executable, "-m", "experiments.reliability.worker", str(root), place]
        self._log = root / f"worker-{id(self)}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: set[str] = set()

    def ask(self, seconds: float, name: str, *which: int) -> Outcome | None:
        """Outcome of one input; None for a request that only prepares a target."""
        if name not in self._ready:
            self._ready.add(name)
            if which and isinstance(failed := self.ask(_START, name), Outcome):
                raise InputError(f"target {name} cannot read its own sound files: {failed.message}")
        start = time.perf_counter()
        answer = self._exchange([name, *which], seconds)
        if isinstance(answer, list):
            return Outcome(*answer) if answer else None
        self.close()
        return Outcome(answer, self._last_words(), "", time.perf_counter() - start, 0)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
        self._process, self._ready = None, set()

    def _exchange(self, request: list[Any], seconds: float) -> list[Any] | str:
        """The answer to a request, or "hang" or "died"."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(seconds):
                    return "hang"
            line = process.stdout.readline()
        except BrokenPipeError:
            return "died"
        return json.loads(line) if line else "died"

    def _start(self) -> subprocess.Popen[bytes]:
        # Nothing is asked of a hub, and one thread of each library is enough for tiny arrays.
        env = {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
               "TOKENIZERS_PARALLELISM": "false", "MPJAX_CACHE": "none"}  # fmt: skip
        with open(self._log, "wb") as log:
            return subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, **env},
            )  # fmt: skip

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no message"]
        return next((line for line in lines if line.startswith("Fatal")), lines[-1])[:200]


def fuzz(
    root: Path, inputs: int, seed: int, only: list[str], workers: int = 1, place: str = TABLE
) -> dict[str, Any]:
    """Counts of the outcomes by target, and an example of every way to fail.

    Args:
      root: folder for sound files, scratch copies and failing inputs.
      inputs: damaged inputs, divided among the targets by their shares.
      seed: of the damage.
      only: names of targets, [] for all.
      workers: processes.
      place: module and name of the table of targets.
    """
    targets = table(place)
    if unknown := set(only) - targets.keys():
        raise InputError(f"--only {', '.join(unknown)}: choose from {', '.join(targets)}")
    chosen = {name: targets[name] for name in only or targets}
    root.mkdir(parents=True, exist_ok=True)
    start, tally = time.perf_counter(), Tally(root / "failures", seed)
    waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for name, count in _counts(chosen, inputs).items():
        waiting.put((name, count))

    def work(worker: Worker) -> None:
        try:
            while True:
                name, count = waiting.get_nowait()
                for number in range(count):
                    outcome = worker.ask(1.5 * chosen[name].seconds, name, seed, number)
                    tally.add(name, number, outcome)
        except queue.Empty:
            return
        finally:
            worker.close()

    first = Worker(root, place)
    for name in chosen:  # one after the other: some share their sound files
        if isinstance(failed := first.ask(_START, name), Outcome):
            raise InputError(f"target {name} cannot read its own sound files: {failed.message}")
    crew = [first, *(Worker(root, place) for _ in range(workers - 1))]
    threads = [threading.Thread(target=work, args=(worker,)) for worker in crew]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.keep(chosen, root)
    return {**tally.report(), "seed": seed, "seconds": round(time.perf_counter() - start, 1)}


class Tally:
    """Outcomes by target, and the first inputs of every way to fail."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._counts: dict[str, collections.Counter[str]] = {}
        self._seconds: dict[str, float] = collections.defaultdict(float)
        self._slowest: dict[str, float] = collections.defaultdict(float)
        self._largest: dict[str, int] = collections.defaultdict(int)
        self._failed: dict[tuple[str, str, str], list[tuple[int, Outcome]]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, number: int, outcome: Outcome | None) -> None:
        """Counts one outcome."""
        assert outcome is not None
        with self._lock:
            self._counts.setdefault(name, collections.Counter())[outcome.kind] += 1
            self._seconds[name] += outcome.seconds
            self._slowest[name] = max(self._slowest[name], outcome.seconds)
            self._largest[name] = max(self._largest[name], outcome.memory)
            if outcome.kind not in OUTCOMES[:2]:
                way = name, outcome.kind, _signature(outcome.message)
                self._failed.setdefault(way, []).append((number, outcome))

    def keep(self, targets: Mapping[str, Target], root: Path) -> None:
        """Writes the first failing inputs of each way to files for `replay`."""
        for (name, kind, way), found in sorted(self._failed.items()):
            bench = None
            for number, outcome in found[:_KEPT]:
                bench = bench or Damage(name, targets[name], root)
                file, content = bench.spoil(self._seed, number)
                place = re.sub(r"\W+", "-", way)[:60].strip("-")
                write_json(
                    self._folder / f"{name}-{kind}-{place}-{number}.json",
                    {"target": name, "file": file, "kind": kind, "message": outcome.message,
                     "seed": self._seed, "number": number,
                     "content": base64.b64encode(content).decode()},
                )  # fmt: skip

    def report(self) -> dict[str, Any]:
        """Counts as JSON values."""
        total = sum(self._counts.values(), collections.Counter())
        return {
            "inputs": total.total(),
            "outcomes": {kind: total[kind] for kind in OUTCOMES},
            "targets": {
                name: {
                    **{kind: counts[kind] for kind in OUTCOMES if counts[kind]},
                    "seconds": round(self._seconds[name], 1),
                    "slowest_seconds": round(self._slowest[name], 2),
                    "most_memory_mb": round(self._largest[name] / 1e6),
                }
                for name, counts in sorted(self._counts.items())
            },
            "failures": [
                {"target": name, "kind": kind, "way": way, "count": len(found)}
                for (name, kind, way), found in sorted(self._failed.items())
            ],
        }


class Damage(Bench):
    """A bench whose sound files are there already and are not read."""

    def _accepted(self) -> Iterator[str]:
        return iter(())


def replay(path: Path, root: Path, place: str = TABLE) -> Outcome:
    """Reads a kept input again, in this process."""
    kept = read_object(path)
    targets = table(place)
    if kept.get("target") not in targets:
        raise InputError(f"{path} is no failing input of this table of targets")
    bench = Bench(kept["target"], targets[kept["target"]], root.absolute())
    return bench.outcome(kept["file"], base64.b64decode(kept["content"]))


def as_table(found: Mapping[str, Any]) -> str:
    """Outcomes by target, and the ways to fail."""
    kinds = [kind for kind in OUTCOMES if found["outcomes"][kind]]
    total = {"all": {**found["outcomes"]}}
    rows = [
        [name, *(str(counts.get(kind, 0)) for kind in kinds),
         str(counts.get("slowest_seconds", "")), str(counts.get("most_memory_mb", ""))]
        for name, counts in (dict(found["targets"]) | total).items()
    ]  # fmt: skip
    table = render(["target", *kinds, "slowest s", "most MB"], rows, left=1)
    ways = [
        f"{way['count']:>6}  {way['target']}  {way['kind']}: {ascii(way['way'])[1:-1]}"
        for way in sorted(found["failures"], key=lambda way: -way["count"])
    ]
    seconds = f"{found['inputs']} inputs in {found['seconds']:.0f} s, seed {found['seed']}"
    return "\n".join([table, "", *ways, seconds])


def _counts(targets: Mapping[str, Target], inputs: int) -> dict[str, int]:
    """Inputs of each target, the largest shares first; at least `inputs` together."""
    shares = sum(target.share for target in targets.values())
    counts = {n: math.ceil(inputs * t.share / shares) for n, t in targets.items()}
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _signature(message: str) -> str:
    """A message without what differs between inputs of one kind."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+|/\S+", "_", message)[:120]
