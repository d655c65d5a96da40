"""Journals of members that train together, one each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax

from mpjax.log import log
from mpjax.runs import folder, provenance
from mpjax.runs.journal import Deferred, Journal, Watch
from mpjax.sweep.groups import Group
from mpjax.trackers import Reports
from mpjax.training.divergence import Diverged, watch_finite
from mpjax.training.recording.collapse import watch_loss
from mpjax.training.recording.reporting import begin_reports, reports_of


class Journals:
    """One journal per member; a member stops writing when it diverges."""

    def __init__(self, group: Group, start: int, scope: ExitStack) -> None:
        self.diverged: dict[int, int] = {}  # member -> step
        self.folders = [run.path for _, run in group.members]
        self._journals: list[Journal] = []
        self.reports: list[Reports] = []
        self._see = watch_finite(group.jobs[0].mishaps.most_skipped)
        for job, run in group.members:
            provenance.record(run, start)
            reports = scope.enter_context(reports_of(job, run))
            batch_size = job.inputs.batches.batch_size
            watch = Watch(watch_loss(job, run, start))
            journal = Journal(run, start, batch_size, reports, job.learning_rates, watch=watch)
            self._journals.append(journal)
            begin_reports(reports, run)
            self.reports.append(reports)
        for i, (_, run) in enumerate(group.members):
            for line in folder.read_lines(run.metrics):
                if "diverged" in line:
                    self.diverged[i] = line["step"]
        self._deferred = Deferred(self._write)

    def train(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        self._deferred.put(step, metrics)

    def _write(self, step: int, metrics: Mapping[str, Any]) -> None:
        for i, journal in enumerate(self._journals):
            if step < self.diverged.get(i, step + 1):
                journal.train(step, jax.tree.map(lambda array, i=i: array[i], dict(metrics)))
                journal.flush()

    def see(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Notes the members that diverge at a step."""
        found: dict[int, str] = {}
        for i in range(len(self._journals)):
            if i not in self.diverged:
                try:
                    self._see(step, {name: array[i] for name, array in metrics.items()})
                except Diverged as error:
                    log.warning("%s: %s", self.folders[i].name, error)
                    found[i] = str(error)
        if found:
            self.diverged |= dict.fromkeys(found, step)
            self._deferred.flush()  # lines of steps before
        for i, reason in found.items():
            self._journals[i].diverged(step, reason)

    def evaluation(self, step: int, score: Sequence[Mapping[str, float]]) -> None:
        self._deferred.flush()
        for i, journal in enumerate(self._journals):
            if i not in self.diverged:
                journal.evaluation(step, score[i])

    def sync(self) -> None:
        self._deferred.flush()
        for journal in self._journals:
            journal.sync()
