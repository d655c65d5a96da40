"""`metrics.jsonl`, `timings.jsonl` and `masks.jsonl`, the growing files of a run."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from mpjax.runs.folder import RunDir, keep_until, read_lines
from mpjax.trackers import Reports

CHANGES = "changes"  # of masks, among the metrics of a logged step
_YEAR = 365 * 86_400.0  # seconds; no line of a run took that long


def total_loss(metrics: Mapping[str, Any]) -> Any:
    """Task loss plus λ times the penalty, if any: the objective that is minimised.

    >>> total_loss({"task_loss": 1.0, "lam": 10.0, "penalty": 0.5}), total_loss({"task_loss": 1.0})
    (6.0, 1.0)
    """
    return metrics["task_loss"] + metrics.get("lam", 0) * metrics.get("penalty", 0)


class Deferred:
    """Hands metrics on when the next ones come, so that the loop does not wait for the device.

    Args:
      write: takes the step and its metrics, fetched to the host.
    """

    def __init__(self, write: Callable[[int, dict[str, Any]], None]) -> None:
        self._write = write
        self._waiting: tuple[int, Mapping[str, Any]] | None = None

    def put(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Keeps the metrics of a step that may still be running, and hands on the previous ones."""
        self.flush()
        self._waiting = step, metrics

    def flush(self) -> None:
        """Waits for the kept metrics and hands them on."""
        if self._waiting is None:
            return
        (step, metrics), self._waiting = self._waiting, None
        self._write(step, jax.device_get(dict(metrics)))


def ignore(step: int, values: Mapping[str, Any]) -> None:
    """Does nothing with the numbers of a step."""


@dataclass(frozen=True)
class Watch:
    """Functions that follow a run.

    Attributes:
      line: receives the step and the values of every line of metrics.
      step: receives the step and the metrics of every step, and raises to end the run.
    """

    line: Callable[[int, Mapping[str, Any]], None] = ignore
    step: Callable[[int, Mapping[str, Any]], None] = ignore


class Journal:
    """Writes the metrics of a run without making the loop wait for the device.

    Creating it drops the records after `start_step`.

    Args:
      batch_size: rows per step, for the throughput.
      reports: receives every value, too.
      learning_rates: learning rates by name, applied at update ``step``, counted from 0.
      writes: whether this process writes; with several, process 0 does.
      watch: functions that follow the run.
    """

    def __init__(
        self,
        run: RunDir,
        start_step: int,
        batch_size: int,
        reports: Reports,
        learning_rates: Callable[[int], Mapping[str, Any]] = lambda step: {},
        writes: bool = True,
        watch: Watch = Watch(),
    ) -> None:
        self._files = (run.metrics, run.timings) if writes else ()
        self._masks = run.masks if writes else None
        for path in run.growing if writes else ():
            keep_until(path, start_step)
        self._batch_size, self._reports, self._rates = batch_size, reports, learning_rates
        self._observe, self.see = watch.line, watch.step
        self._step = start_step
        self._deferred = Deferred(self.write)
        self._clock = time.perf_counter()

    def train(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Records the metrics of a step that may still be running."""
        self._deferred.put(step, {**metrics, **self._rates(step - 1)})

    def flush(self) -> None:
        """Writes the metrics recorded so far; waits for their step."""
        self._deferred.flush()

    def evaluation(self, step: int, score: Mapping[str, float]) -> None:
        """Records the dev scores after a step."""
        self._deferred.flush()
        self._write(step, {"eval": dict(score)})

    def diverged(self, step: int, reason: str) -> None:
        """Records that the run ends at a step whose update was not finite."""
        for path in self._files[:1]:
            _append(path, {"step": step, "diverged": reason})

    def sync(self) -> None:
        """Writes everything to disk; called before a checkpoint, so that it lacks no record."""
        self._deferred.flush()
        masks = [path for path in (self._masks,) if path is not None and path.is_file()]
        for path in (*self._files, *masks):
            with open(path, "a", encoding="utf-8") as file:
                os.fsync(file.fileno())

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes metrics that are on the host; numbers that are not finite become null."""
        values = {**metrics, "loss": total_loss(metrics)}
        self._write_changes(step, values.pop(CHANGES, None))
        values = {name: float(values[name]) for name in sorted(values)}
        if not values.get("skipped"):
            values.pop("skipped", None)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._write(step, {name: finite.get(name) for name in values})
        if "loss" in finite:
            self._observe(step, values)

    def _write_changes(self, step: int, changes: Mapping[str, Any] | None) -> None:
        """Writes the changes of the masks since the marks before, if there are any.

        A file of its own, since an interruption shows: the masks before it are gone.
        """
        if changes is None or self._masks is None or int(changes["since"]) < 0:
            return
        record = {
            "step": step - 1,  # updates made before the masks were
            "since": int(changes["since"]),
            **{name: _rounded(changes[name]) for name in ("dropped", "regrown")},
            "layers": {layer: _rounded(share) for layer, share in changes["layers"].items()},
        }
        _append(self._masks, record)

    def _write(self, step: int, values: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        seconds = now - self._clock
        rate = (step - self._step) * self._batch_size / seconds
        speed = {"rows_per_second": round(rate, 2)} if step > self._step else {}
        timing = {"step": step, "seconds": round(seconds, 4), **speed}
        for path, record in zip(self._files, ({"step": step, **values}, timing), strict=False):
            _append(path, record)
        scores = {f"eval/{name}": score for name, score in values.get("eval", {}).items()}
        known = {name: value for name, value in values.items() if value is not None}
        self._reports.write(step, scores or {**known, **speed})
        self._clock, self._step = now, step


def last_score(run: RunDir) -> tuple[int, dict[str, float]] | None:
    """Step and scores of the last evaluation in `metrics.jsonl`, or None."""
    found = [(line["step"], line["eval"]) for line in read_lines(run.metrics) if "eval" in line]
    return found[-1] if found else None


def seconds(run: RunDir) -> float:
    """Total time of all sessions of a run, evaluation and compilation included.

    A damaged line counts as 0: no two runs take the same time, and no result rests on it.
    """
    found = [line.get("seconds", 0) for line in read_lines(run.timings)]
    return sum(float(time) for time in found if type(time) in (int, float) and 0 <= time < _YEAR)


def _rounded(share: Any) -> float:
    return float(f"{float(share):.4g}")


def _append(path: Any, record: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
