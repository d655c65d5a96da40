"""Watch over the training loss: finds a run that is no better than guessing.

A logged loss is of one batch and noisy. So it is compared with the loss of guessing on that very
batch, over a window of lines, and a difference counts only beyond its standard error.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from mpjax.log import log
from mpjax.parallel.consensus import first
from mpjax.pruning import Pruning
from mpjax.pruning.granularities import NofM
from mpjax.runs.folder import RunDir, read_lines
from mpjax.tasks.chance import guessing_losses
from mpjax.training.job import Job

BETTER, GUESSING = 0.9, 0.97  # of the loss of guessing: below the one, above the other
ERRORS = 4  # standard errors; with 3, one of ten mediocre runs on rare labels is a false alarm
LINES, LAST_LINES = 8, 5  # least lines of a window while the run goes on, and at its end
STEPS, SHARE = 20, 0.05  # least steps of a window, and least share of the run


class Line(NamedTuple):
    """Task loss of a logged step, and the loss of guessing on its batch."""

    step: int
    loss: float
    guess: float


class Finding(NamedTuple):
    """A run at the loss of guessing: mean losses of its last lines."""

    was_better: bool  # earlier in the run
    loss: float
    guess: float


def verdict(lines: list[Line]) -> Literal["better", "guessing"] | None:
    """Whether the mean loss is clearly below that of guessing, or clearly not; None if neither.

    With mean loss l, mean guess g and e = `ERRORS` standard errors of the differences that e
    stands beside: better is l < 0.9·g and l + e < g; guessing is l > 0.97·g and l − e > 0.9·g.

    >>> [verdict([Line(t, loss, 0.69) for t in range(8)]) for loss in (0.3, 0.65, 0.7)]
    ['better', None, 'guessing']
    """
    losses, guesses = (np.array([line[i] for line in lines]) for i in (1, 2))
    loss, guess = losses.mean(), guesses.mean()
    if guess <= 0:  # a single label: nothing to learn
        return None

    def error(factor: float) -> float:
        spread = float(np.std(losses - factor * guesses, ddof=1))
        return ERRORS * spread / math.sqrt(len(lines))

    if loss < BETTER * guess and loss + error(1) < guess:
        return "better"
    if loss > GUESSING * guess and loss - error(BETTER) > BETTER * guess:
        return "guessing"
    return None


class CollapseWatch:
    """Takes the logged losses of a run in order and finds at most once that it only guesses.

    Found are a loss that is back at that of guessing, and in the last quarter of the run a loss
    that never was below. Nothing is found in a run of fewer than `LAST_LINES` lines or `STEPS`
    steps.
    """

    def __init__(self, total_steps: int) -> None:
        self._total = total_steps
        self._span = max(STEPS, SHARE * total_steps)
        self._window: deque[Line] = deque()
        self._was_better = self._found = False

    def see(self, line: Line) -> Finding | None:
        """Finding of a line, None for most."""
        window, last = self._window, line.step >= self._total
        window.append(line)
        while len(window) > LINES and line.step - window[1].step >= self._span:
            window.popleft()
        full = len(window) >= (LAST_LINES if last else LINES)
        if self._found or not full or line.step - window[0].step < self._span:
            return None
        found = verdict(list(window))
        self._was_better |= found == "better"
        late = line.step >= 0.75 * self._total
        if found != "guessing" or not (self._was_better or late):
            return None
        self._found = True
        loss, guess = (float(np.mean([line[i] for line in window])) for i in (1, 2))
        return Finding(self._was_better, loss, guess)


def watch_loss(job: Job, run: RunDir, start: int) -> Callable[[int, Mapping[str, Any]], None]:
    """Function of step and metrics of every logged line, which warns of a run that only guesses.

    The lines up to `start` are taken from the run folder, without a warning: one was given then.
    A distilled run is not watched: its loss mixes labels and teacher, and has no known value for
    guessing. Process 0 watches for all.
    """
    if job.inputs.teacher is not None or not first():
        return lambda step, metrics: None
    batches = job.inputs.batches
    guesses = guessing_losses(
        job.inputs.task.head, batches.encoded.arrays, job.inputs.class_weights
    )
    watch = CollapseWatch(job.length.total_steps)

    def see(step: int, metrics: Mapping[str, Any]) -> Finding | None:
        guess = float(np.mean(guesses[batches.rows(step - 1)]))
        return watch.see(Line(step, float(metrics["task_loss"]), guess))

    def warn(step: int, metrics: Mapping[str, Any]) -> None:
        if (finding := see(step, metrics)) is not None:
            text = message(finding, step, metrics.get("density"), remedies(job.pruning))
            log.warning("%s: %s", run.path, text)

    for line in read_lines(run.metrics) if start else ():  # without a checkpoint it is made anew
        if "task_loss" in line and line["step"] <= start:
            see(line["step"], line)
    return warn


def message(finding: Finding, step: int, density: float | None, remedies: list[str]) -> str:
    """Text of the warning.

    >>> message(Finding(True, 0.701, 0.693), 40, 0.03, ["lower --learning-rate"])
    'the training loss is back at that of guessing at step 40, at density 0.03: 0.701, where guessing gives 0.693. The model has collapsed; lower --learning-rate'
    """  # noqa: E501
    where = f"at step {step}" + ("" if density is None else f", at density {float(density):.3g}")
    change = ", ".join(remedies[:-1]) + (", or " if remedies[1:] else "") + remedies[-1]
    state = "is back at" if finding.was_better else "never was below"
    end = "The model has collapsed" if finding.was_better else "The model has learnt nothing"
    return (
        f"the training loss {state} that of guessing {where}: {finding.loss:.3g}, where guessing "
        f"gives {finding.guess:.3g}. {end}; {change}"
    )


def remedies(pruning: Pruning | None) -> list[str]:
    """Changes of the options that help a run to learn, for its kind of pruning."""
    found = ["lower --learning-rate"]
    if pruning is None:
        return found
    rule = pruning.rule
    by_runs = any(isinstance(part.granularity, NofM) for part in pruning.structure.parts)
    more = "keep more of every run by --structure" if by_runs else "give a higher --density"
    found += [more] if (rule.final_density or 1) < 1 else []
    found += ["lower --final-lambda"] if rule.has_penalty and not rule.is_steered else []
    asked = "--structure" if by_runs else "--density"
    recommended = [f"give {asked} without --method, the recommended recipe"]
    return found if pruning.dense_gradient else found + recommended
