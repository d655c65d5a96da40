"""Train step of every rule beside the dense step."""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax

from experiments.bench.programs import SIZES, build
from experiments.bench.timing import page_faults, row


class Runner:
    """A compiled step with the state that it moves on, and the page faults of its last call."""

    def __init__(self, name: str, size: str, batch_size: int, length: int) -> None:
        self._step, self._state, self._batch = build(name, SIZES[size], batch_size, length)
        self.faults = 0

    def seconds(self) -> float:
        """Wall time of one step."""
        before, start = page_faults(), time.perf_counter()
        self._state, metrics = self._step(self._state, self._batch)
        jax.block_until_ready((self._state, metrics))
        self.faults = page_faults() - before
        return time.perf_counter() - start


def run(size: str, batch_size: int, length: int, rules: list[str], rounds: int) -> dict[str, Any]:
    """Times one step of each in turn; prints the table and returns its numbers."""
    result = {}
    print(
        f"BERT-{size}, {batch_size} x {length}, float32, {jax.devices()[0].device_kind},"
        f" {rounds} rounds; ratio = median over rounds of time / dense time"
    )
    for name in rules:
        runners = {kind: Runner(kind, size, batch_size, length) for kind in ("dense", name)}
        for runner in runners.values():
            for _ in range(3):  # compile, and enter the ramp
                runner.seconds()
        times: dict[str, list[float]] = {kind: [] for kind in runners}
        for _ in range(rounds):
            for kind, runner in runners.items():
                times[kind].append(runner.seconds())
        result[name] = _report(name, times, {kind: r.faults for kind, r in runners.items()})
        del runners, runner  # two models at a time, not three
    return result


def _report(name: str, times: dict[str, list[float]], faults: dict[str, int]) -> dict[str, Any]:
    """Prints the dense line and that of the rule; returns their numbers."""
    ratios = [a / b for a, b in zip(times[name], times["dense"], strict=True)]
    ratio = statistics.median(ratios)
    note = f"{faults['dense']:,} page faults in the last step"
    print(row("dense", statistics.median(times["dense"]), 1.0, note), flush=True)
    spread = f"min {min(ratios):.3f} max {max(ratios):.3f}, {faults[name]:,} page faults"
    print(row(name, statistics.median(times[name]), ratio, spread), flush=True)
    return {
        "dense_seconds": times["dense"],
        "seconds": times[name],
        "page_faults": faults,
        "ratio": ratio,
    }
