"""Train step of every rule beside the dense step, and beside what the machine allows.

The rates of the machine are taken in the same run: of products, and of memory. With them
the dense step has a share of the peak, and what pruning adds a floor: the arrays of the prunable
weights' size that it cannot but read or write, at the rate of memory (`LEAST_ARRAYS`).
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import jax

from experiments.bench.programs import SIZES, build, model_flops, prunable
from experiments.bench.timing import memory_rate, page_faults, product_rate, row
from mpjax.models import BertConfig
from mpjax.pruning import RULES

# With scores: Adam reads gradients, scores and two moments, and writes the last three; the
# gradients of the scores, taken in the same pass, read the weights; the masked weights take a pass
# of their own, which reads weights and scores. Without scores: the cut reads the weights, and the
# masked weights take a pass.
LEAST_ARRAYS = {True: 4 + 3 + 1 + 3, False: 1 + 2}


@dataclass(frozen=True)
class Workload:
    """A model and its batches."""

    size: str
    batch_size: int
    length: int
    dtype: str = "float32"  # of products

    @property
    def config(self) -> BertConfig:
        """Config of the model."""
        return SIZES[self.size]


@dataclass(frozen=True)
class Machine:
    """Rates of a machine: FLOP/s of the model's largest product, bytes/s of memory."""

    products: float
    memory: float


class Runner:
    """A compiled step with the state that it moves on, and the page faults of its last call.

    Attributes:
      bytes: read and written by a step, as XLA counts them; loops count once.
    """

    def __init__(self, name: str, work: Workload) -> None:
        step, self._state, self._batch = build(
            name, work.config, work.batch_size, work.length, work.dtype
        )
        self._step = step.lower(self._state, self._batch).compile()
        self.bytes = float(self._step.cost_analysis()["bytes accessed"])
        self.faults = 0

    def seconds(self) -> float:
        """Wall time of one step."""
        before, start = page_faults(), time.perf_counter()
        self._state, metrics = self._step(self._state, self._batch)
        jax.block_until_ready((self._state, metrics))
        self.faults = page_faults() - before
        return time.perf_counter() - start


def run(work: Workload, rules: list[str], rounds: int) -> dict[str, Any]:
    """Times one step of each in turn; prints the table and returns its numbers."""
    print(
        f"BERT-{work.size}, {work.batch_size} x {work.length}, {work.dtype}, "
        f"{jax.devices()[0].device_kind}, {rounds} rounds; "
        "ratio = median over rounds of time / dense time"
    )
    result = {}
    for name in rules:
        runners = {kind: Runner(kind, work) for kind in ("dense", name)}
        for runner in runners.values():
            for _ in range(2):  # enter the ramp
                runner.seconds()
        machine = rates(work)
        times: dict[str, list[float]] = {kind: [] for kind in runners}
        for _ in range(rounds):
            for kind, runner in runners.items():
                times[kind].append(runner.seconds())
        report = _report(name, times, {kind: r.faults for kind, r in runners.items()})
        moved = runners[name].bytes - runners["dense"].bytes
        result[name] = report | bounds(name, work, machine, times, moved)
        del runners, runner  # two models at a time, not three
    return result


def rates(work: Workload) -> Machine:
    """Rates of this machine now."""
    config = work.config
    width, inner = config.hidden_size, config.intermediate_size
    rows = work.batch_size * work.length
    return Machine(product_rate(rows, width, inner, work.dtype), memory_rate())


def bounds(
    name: str, work: Workload, machine: Machine, times: dict[str, list[float]], moved: float
) -> dict[str, Any]:
    """Share of the peak and floor of the ratio, printed; `moved`: bytes over the dense step."""
    dense = statistics.median(times["dense"])
    flops = model_flops(work.config, work.batch_size, work.length)
    has_scores = RULES[name.partition(":")[0]].has_scores
    least = 4.0 * LEAST_ARRAYS[has_scores] * prunable(work.config)
    found = {
        "machine": asdict(machine),
        "share_of_peak": flops / dense / machine.products,
        "bytes_added": moved,
        "least_bytes_added": least,
        "floor": 1 + least / machine.memory / dense,
    }
    print(
        f"  products {machine.products / 1e9:,.0f} GFLOP/s, memory {machine.memory / 1e9:.1f} GB/s;"
        f" dense at {found['share_of_peak']:.0%} of the products' rate;"
        f"\n  pruning moves {moved / 1e9:.2f} GB more by XLA's count, and {least / 1e9:.2f} GB"
        f" at least, so the ratio is {found['floor']:.3f} at least",
        flush=True,
    )
    return found


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
