"""Trackers of a run that is trained."""

from __future__ import annotations

from mpjax.runs.folder import RunDir, read_lines
from mpjax.trackers import Reports
from mpjax.trackers.reports import lines_as_steps
from mpjax.training.job import Job


def reports_of(job: Job, run: RunDir, writes: bool = True) -> Reports:
    """Trackers that follow a run, not opened yet; none in a process that does not write."""
    return Reports(job.trackers if writes else (), run.path, job.config)


def begin_reports(reports: Reports, run: RunDir, changed_after: int | None = None) -> None:
    """Opens trackers, and gives them the steps before this session that they lack.

    The metrics end at the step that the session starts from: its `Journal` has cut them.

    Args:
      changed_after: that step, where the session goes on with other options.
    """
    reports.begin(lambda: lines_as_steps(read_lines(run.metrics)), changed_after)
