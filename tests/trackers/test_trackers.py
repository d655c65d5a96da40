"""Trackers of a run: every step once over all sessions, and no run that ends for a tracker."""

import importlib.util
import json
import sys
from types import SimpleNamespace

import pytest

from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.trackers import Reports, chosen, known
from mpjax.trackers.reports import NOTE

CONFIG = {"density": 0.1, "mesh": None}
STEPS = {step: {"loss": 1 / step} for step in range(1, 7)}


class Kept:
    """A tracker that keeps what it gets; fails at a step."""

    held = None

    def __init__(self, session):
        self.session, self.rows, self.final, self.finished = session, [], None, None
        self.broken = None

    def log(self, step, values):
        if step == self.broken:
            raise ConnectionError("no route\x1b[2J to host")
        self.rows.append((step, dict(values)))

    def result(self, values):
        self.final = values

    def close(self, finished):
        self.finished = finished


@pytest.fixture
def opened(monkeypatch):
    """Trackers in the order in which they are opened."""
    found = []

    def start(session):
        found.append(Kept(session))
        return found[-1]

    monkeypatch.setattr("mpjax.trackers.reports.tracker", lambda name: SimpleNamespace(start=start))
    return found


def session(folder, first, last, past=(), names=("wandb",)):
    reports = Reports(names, folder, CONFIG)
    with reports:
        reports.begin(lambda: past)
        for step in range(first, last + 1):
            reports.write(step, STEPS[step])
    return reports


def test_parts_of_a_step_are_given_together_and_the_result_last(opened, tmp_path):
    with Reports(("wandb",), tmp_path, CONFIG) as reports:
        reports.begin()
        reports.write(2, {"loss": 0.5})
        reports.write(2, {"eval/accuracy": 90.0})
        reports.result({"score": 90.0})
    [kept] = opened
    assert kept.rows == [(2, {"loss": 0.5, "eval/accuracy": 90.0})]
    assert kept.final == {"score": 90.0} and kept.finished is True
    assert kept.session.config == CONFIG and kept.session.name == tmp_path.name


def test_a_continued_run_gives_every_step_once(opened, tmp_path):
    session(tmp_path, 1, 5)  # the last checkpoint is that of step 3
    session(tmp_path, 4, 6, past=[(s, STEPS[s]) for s in (1, 2, 3)])
    before, after = opened
    assert before.rows + after.rows == list(STEPS.items()) and before.finished is False
    assert before.session.id == after.session.id and after.session.given == 5


def test_steps_trained_again_with_other_options_are_given_again(opened, tmp_path):
    session(tmp_path, 1, 5)
    with Reports(("wandb",), tmp_path, CONFIG) as reports:
        reports.begin(lambda: [(s, STEPS[s]) for s in (1, 2, 3)], changed_after=3)
        for step in (4, 5, 6):
            reports.write(step, STEPS[step])
    assert [step for step, _ in opened[1].rows] == [4, 5, 6] and opened[1].session.given == 3


@pytest.mark.parametrize("names", [("trackio",), ("wandb", "trackio")])
def test_a_tracker_that_comes_later_gets_the_steps_before(opened, tmp_path, names):
    session(tmp_path, 1, 3)
    session(tmp_path, 4, 6, past=[(s, STEPS[s]) for s in (1, 2, 3)], names=names)
    assert opened[-1].rows == list(STEPS.items())


def test_what_a_tracker_has_counts_more_than_the_note(opened, tmp_path, monkeypatch):
    session(tmp_path, 1, 3)
    monkeypatch.setattr(Kept, "held", 1)  # the others were lost on the way
    session(tmp_path, 4, 6, past=[(s, STEPS[s]) for s in (1, 2, 3)])
    assert [step for step, _ in opened[1].rows] == [2, 3, 4, 5, 6]


def test_a_tracker_that_fails_is_named_once_and_gets_the_rest_later(opened, tmp_path, caplog):
    reports = Reports(("wandb", "trackio"), tmp_path, CONFIG)
    with reports:
        reports.begin()
        opened[0].broken = 3
        for step, values in STEPS.items():
            reports.write(step, values)
    [line] = caplog.messages
    assert "wandb fails" in line and "ConnectionError: no route" in line and "\x1b" not in line
    assert [step for step, _ in opened[0].rows] == [1, 2]
    assert opened[1].rows == list(STEPS.items())
    session(tmp_path, 7, 6, past=list(STEPS.items()))
    assert [step for step, _ in opened[2].rows] == [3, 4, 5, 6]


def test_a_tracker_that_does_not_open_stops_no_run(tmp_path, monkeypatch, caplog):
    def start(session):
        raise OSError("no network")

    monkeypatch.setattr("mpjax.trackers.reports.tracker", lambda name: SimpleNamespace(start=start))
    session(tmp_path, 1, 6)
    assert len(caplog.messages) == 1 and "no network" in caplog.text


def test_a_damaged_note_is_said_and_the_run_is_a_new_one(opened, tmp_path, caplog):
    session(tmp_path, 1, 3)
    (tmp_path / NOTE).write_text("{")
    session(tmp_path, 4, 6, past=[(s, STEPS[s]) for s in (1, 2, 3)])
    assert opened[0].session.id != opened[1].session.id
    assert opened[1].rows == list(STEPS.items()) and "new one" in caplog.text
    assert json.loads((tmp_path / NOTE).read_text())["wandb"] == 6


def test_without_trackers_nothing_is_written_and_no_package_loaded(tmp_path):
    session(tmp_path, 1, 6, past=None, names=())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("report_to", "parts"),
    [
        ("tensorbord", ["'tensorbord'", "tensorboard, wandb, trackio"]),
        ("tensorboard,", ["''"]),
        ("none,wandb", ["'none'"]),
        ("wandb\x1b[2J", ["wandb", "tensorboard, wandb, trackio"]),
    ],
)
def test_an_unknown_tracker_is_named(report_to, parts):
    with pytest.raises(InputError) as error:
        chosen(report_to)
    assert all(part in str(error.value) for part in parts) and "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", known.NAMES)
def test_a_missing_package_is_said_with_its_extra(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"pip install 'mpjax\[{name}\]'"):
        chosen(name)


def test_both_spellings_of_tensorboard_are_one(tmp_path):
    pytest.importorskip("tensorboardX")
    base = {"model": "m", "task": "sst2", "output": str(tmp_path), "method": "dense"}
    for given in ({"tensorboard": True}, {"report_to": "tensorboard"},
                  {"tensorboard": True, "report_to": "tensorboard, tensorboard"}):  # fmt: skip
        assert resolve(TrainConfig(**base, **given)).report_to == "tensorboard"
    assert resolve(TrainConfig(**base, report_to="none")).report_to is None


def fake_wandb(monkeypatch, mode, key):
    settings = SimpleNamespace(mode=mode)
    module = SimpleNamespace(
        setup=lambda: SimpleNamespace(settings=settings), api=SimpleNamespace(api_key=key)
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def test_wandb_without_an_account_is_refused_before_any_work(monkeypatch):
    fake_wandb(monkeypatch, "online", None)
    with pytest.raises(InputError, match="WANDB_MODE=offline"):
        chosen("wandb")


@pytest.mark.parametrize(("mode", "key"), [("offline", None), ("online", "key")])
def test_wandb_with_an_account_or_offline(monkeypatch, mode, key):
    fake_wandb(monkeypatch, mode, key)
    assert chosen("wandb") == ("wandb",)
