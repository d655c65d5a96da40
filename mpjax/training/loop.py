"""The loop over steps, the same for one run and for a population of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mpjax.errors import Interrupted
from mpjax.hostmemory import Temporaries
from mpjax.runs.checkpoints import Checkpoints
from mpjax.runs.journal import Deferred
from mpjax.runs.progress import Progress
from mpjax.training.job import Cadence
from mpjax.training.state import TrainState


@dataclass(frozen=True)
class Program:
    """Compiled functions over a state, of one run or of several along a leading axis.

    Attributes:
      batch: batch of a step, counted from 0, on its devices.
      step: next state and metrics; the state that goes in is donated.
      measure: logged metrics of the state before a step.
      score: scores of a state on the dev set.
      memory: bytes of the host that a step takes beside the state, by arithmetic.
    """

    batch: Callable[[int], Any]
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]
    measure: Callable[[TrainState], dict[str, Any]]
    score: Callable[[TrainState], Any]
    memory: int


class Recorder(Protocol):
    """Where metrics and scores of a loop go; see `Journal`.

    `see` receives the metrics of every step, a step late, and raises to end the loop.
    """

    def train(self, step: int, metrics: Mapping[str, Any]) -> None: ...
    def evaluation(self, step: int, score: Any) -> None: ...
    def sync(self) -> None: ...
    @property
    def see(self) -> Callable[[int, Mapping[str, Any]], None]: ...


@dataclass(frozen=True)
class Span:
    """Steps of a loop: those done before, and all of them."""

    start: int
    total: int
    label: str
    folder: Path  # named when the loop is stopped
    rows: int  # per step, of all members


def run_steps(
    program: Program,
    state: TrainState,
    span: Span,
    cadence: Cadence,
    recorder: Recorder,
    checkpoints: Checkpoints,
    requested: Callable[[], int],
) -> TrainState:
    """Trains from step ``span.start`` to the end; the last step is logged, scored and saved.

    Args:
      requested: number of the signal that asks to stop, 0 for none; asked once a step.

    Raises:
      Interrupted: asked to stop; a checkpoint has been saved.
      Diverged: a loss or gradients that are not finite.
    """
    with closing(Progress(span.label, span.start, span.total, span.rows)) as progress:
        return _run_steps(
            program, state, span, cadence, _Followed(recorder, progress), checkpoints, requested
        )


@dataclass(frozen=True)
class _Followed:
    """Recorder of a loop, with its progress."""

    recorder: Recorder
    progress: Progress

    def see(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Takes metrics and measures of a step that is over."""
        self.recorder.see(step, metrics["step"])
        self.progress.see(step, {**metrics["step"], **metrics["shown"]})


def _run_steps(
    program: Program,
    state: TrainState,
    span: Span,
    cadence: Cadence,
    followed: _Followed,
    checkpoints: Checkpoints,
    requested: Callable[[], int],
) -> TrainState:
    total, recorder, late = span.total, followed.recorder, Deferred(followed.see)
    temporaries = Temporaries(program.memory)
    if span.start < total:
        followed.progress.compiling()
    for step in range(span.start + 1, total + 1):
        last = step == total
        batch = program.batch(step - 1)
        temporaries.wait(state)
        logged = cadence.logs(step) or last
        measures = program.measure(state) if logged else {}
        state, metrics = program.step(state, batch)
        shown = {name: measures[name] for name in ("density",) if name in measures}
        late.put(step, {"step": metrics, "shown": shown})
        if logged:
            recorder.train(step, {**metrics, **measures})
        score = None
        if cadence.evaluates(step) or last:
            late.flush()
            score = program.score(state)
            recorder.evaluation(step, score)
        signal = requested()
        if cadence.saves(step) or last or signal:
            late.flush()
            recorder.sync()  # before the checkpoint, so that no record is missing behind it
            checkpoints.save(state, step, score)
        if signal and not last:
            checkpoints.wait()
            raise Interrupted(
                signal,
                f"stopped at step {step} of {total}; the same command continues {span.folder}",
            )
    return state
