"""Progress of training: a bar in a terminal, one line a minute in a log file."""

import io
import itertools
import logging

import numpy as np
import pytest

from mpjax.log import Notes, log
from mpjax.runs import progress
from mpjax.runs.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """A log at the level of the command line; returns a function that sets stderr."""
    level = log.level
    log.setLevel(logging.INFO)

    def to(stream):
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    yield to
    log.setLevel(level)


def test_a_log_file_gets_a_line_a_minute(stderr, caplog):
    stderr(io.StringIO())
    times = iter(range(100, 1000, 20))
    shown = Progress("sst2 movement", 0, 20, rows=32, clock=lambda: next(times))
    shown.compiling()
    for step in range(1, 11):
        measured = {"density": 1 - step / 20} if step % 2 else {}
        shown.see(step, {"task_loss": np.float32(step), **measured})
    assert [record.getMessage() for record in caplog.records] == [
        "sst2 movement: compiling the step",
        "sst2 movement: step 1 of 20, loss 1, density 0.950",
        "sst2 movement: step 4 of 20, 05:20 left, loss 4, density 0.850, 2 rows/s",
        "sst2 movement: step 7 of 20, 04:20 left, loss 7, density 0.650, 2 rows/s",
        "sst2 movement: step 10 of 20, 03:20 left, loss 10, density 0.550, 2 rows/s",
    ]


def test_a_terminal_gets_a_bar_and_no_lines(stderr, caplog):
    drawn = stderr(Terminal())
    times = itertools.count(100.0, 2.0)
    shown = Progress("sst2", 3, 9, rows=8, clock=lambda: next(times))
    shown.compiling()
    assert "3/9, compiling" in drawn.getvalue()
    for step in range(4, 10):
        shown.see(step, {"task_loss": np.array([0.5, 0.25]), "density": 0.5})
    shown.close()
    last = drawn.getvalue().split("\r")[-1]
    assert "9/9, 00:00 left, loss 0.25–0.5, density 0.500, 4 rows/s" in last
    assert not caplog.records


def test_a_note_stands_above_the_bar(stderr):
    drawn = stderr(Terminal())
    shown = Progress("sst2", 0, 9, rows=8)
    notes = Notes(drawn)
    notes.emit(logging.LogRecord("mpjax", logging.WARNING, "", 0, "a warning", (), None))
    shown.close()
    # The bar is wiped, the warning is a line of its own, and the bar is drawn again below.
    before, _, after = drawn.getvalue().rpartition("a warning\n")
    assert before.endswith("\r") and not before.split("\r")[-2].strip() and "0/9" in after


@pytest.mark.parametrize("why", ["quiet", "another process"])
def test_nothing_is_shown(why, stderr, caplog, monkeypatch):
    drawn = stderr(Terminal())
    if why == "quiet":
        log.setLevel(logging.WARNING)
    else:
        monkeypatch.setattr(progress, "first", lambda: False)
    shown = Progress("sst2", 0, 2, rows=8)
    shown.compiling()
    shown.see(1, {"task_loss": 1.0})
    shown.close()
    monkeypatch.setattr(progress, "MINUTE", 0.0)
    assert list(progress.bar("abc", 3, "evaluating")) == ["a", "b", "c"]
    assert drawn.getvalue() == "" and not caplog.records


def test_work_that_takes_long_says_how_far_it_is(stderr, caplog, monkeypatch):
    stderr(io.StringIO())
    monkeypatch.setattr(progress, "MINUTE", 0.0)
    assert list(progress.bar("abc", 3, "evaluating")) == ["a", "b", "c"]
    assert caplog.messages == [f"evaluating: {done} of 3" for done in (1, 2, 3)]
    caplog.clear()
    monkeypatch.setattr(progress, "MINUTE", 60.0)
    assert list(progress.bar("abc", 3, "evaluating")) and not caplog.records
