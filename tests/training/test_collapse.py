"""A run that is no better than guessing says so once; noise, spikes and few lines say nothing."""

import logging
import math
import os
import signal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

from mpjax import Pruning, Structure
from mpjax.config.length import RunLength
from mpjax.errors import Interrupted
from mpjax.pruning.granularities import NofM
from mpjax.pruning.rules.movement import Movement
from mpjax.pruning.structures import Part
from mpjax.runs.folder import RunDir, read_lines
from mpjax.sweep.sweep import sweep
from mpjax.tasks.base import Encoded
from mpjax.tasks.batches import Batches
from mpjax.training import train as training
from mpjax.training.recording.collapse import (
    CollapseWatch,
    Finding,
    Line,
    message,
    remedies,
    verdict,
    watch_loss,
)
from mpjax.training.train import train

HEALTHY, POOR, NONE = 3.0, 1.3, 0.0  # distance of two classes: losses 0.24, 0.75, 1 of guessing


def batch_losses(rng, distance, share, rows=32, calibrated=1.0):
    """Loss of a logistic model on normal features of two classes, and of guessing the class."""
    labels = rng.random(rows) < share
    feature = rng.normal(size=rows) + distance * (labels - 0.5)
    odds = math.log(share / (1 - share))
    logits = calibrated * distance * feature + odds + rng.normal(0, 0.1)  # a bias never quite fits
    guess = np.where(labels, -math.log(share), -math.log(1 - share))
    return np.mean(np.logaddexp(0, logits) - labels * logits), np.mean(guess)


def findings(rng, distance, share, total=500, log_every=10, spikes=0.0):
    """Findings by step of a run whose classes are `distance(t)` apart at step t."""
    watch = CollapseWatch(total)
    found = {}
    for step in [t for t in range(1, total + 1) if t % log_every == 0 or t == total]:
        loss, guess = batch_losses(rng, distance(step), share)
        loss *= 10 if rng.random() < spikes else 1
        if (finding := watch.see(Line(step, float(loss), float(guess)))) is not None:
            found[step] = finding
    return found


RUNS = [(50, 10), (500, 10), (500, 1), (3000, 50)]


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize(("total", "log_every"), RUNS)
def test_healthy_runs_raise_no_alarm(total, log_every, share):
    rng, alarms, repeats = np.random.default_rng(0), 0, 10
    for level in (HEALTHY, POOR):
        for _ in range(repeats):
            alarms += len(findings(rng, lambda t, d=level: d, share, total, log_every))
            ramp = findings(rng, lambda t, d=level: d * t / total, share, total, log_every, 0.02)
            alarms += len(ramp)
    assert alarms <= 1  # of 40 runs


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize(("total", "log_every"), RUNS)
def test_a_run_that_learns_nothing_is_found_in_its_last_quarter(total, log_every, share):
    rng = np.random.default_rng(1)
    runs = [findings(rng, lambda t: NONE, share, total, log_every) for _ in range(20)]
    assert all(len(run) <= 1 and min(run, default=total) >= 0.75 * total for run in runs)
    assert sum(len(run) for run in runs) >= 18
    assert not any(finding.was_better for run in runs for finding in run.values())


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize(("total", "log_every"), RUNS[1:])
def test_a_collapse_is_found_once_and_while_the_run_goes_on(total, log_every, share):
    rng, half = np.random.default_rng(2), total // 2
    for _ in range(10):
        found = findings(rng, lambda t: HEALTHY if t <= half else NONE, share, total, log_every)
        [(step, finding)] = found.items()
        assert half < step <= half + 2 * max(20, 0.05 * total, 8 * log_every)
        assert finding.was_better
        assert finding.loss == pytest.approx(finding.guess, rel=0.1)


@pytest.mark.parametrize(
    "steps", [[], [1], [1, 2, 3, 4], [5, 10, 15, 19], range(1, 20), [9, 19, 29, 39]]
)
def test_few_lines_or_steps_decide_nothing(steps):
    watch = CollapseWatch(max(steps, default=1))
    assert [watch.see(Line(t, 0.7, 0.69)) for t in steps] == [None] * len(steps)


def test_more_lines_are_needed_before_the_end_than_at_it():
    watch = CollapseWatch(100)
    losses = [0.1] * 8 + [0.7] * 7  # of lines at every 5th step
    assert not any(watch.see(Line(5 * t, x, 0.69)) for t, x in enumerate(losses))
    assert watch.see(Line(75, 0.7, 0.69)) == Finding(True, pytest.approx(0.7), pytest.approx(0.69))
    end = CollapseWatch(50)
    assert [bool(end.see(Line(10 * t, 0.7, 0.69))) for t in range(1, 6)] == [False] * 4 + [True]


def test_a_mean_below_guessing_by_chance_is_not_better():
    noisy = [0.3, 1.0] * 4
    assert np.mean(noisy) < 0.9 * 0.75
    assert verdict([Line(t, x, 0.75) for t, x in enumerate(noisy)]) is None


@pytest.mark.parametrize(("teacher", "found"), [(None, 1), ("any", 0)])
def test_losses_are_compared_with_guessing_on_their_own_batch(teacher, found, tmp_path, warnings):
    """Large values are rare, so that the losses of guessing of 16 rows differ by half."""
    labels = np.where(np.arange(240) % 6 == 0, 10.0, 0.0).astype(np.float32)
    arrays = {"input_ids": np.zeros((240, 4), np.int32), "labels": labels}
    batches = Batches(Encoded(arrays, np.full(240, 4, np.int32)), batch_size=16, seed=0)
    task = SimpleNamespace(head="regression")
    inputs = SimpleNamespace(task=task, batches=batches, teacher=teacher, class_weights=None)
    job: Any = SimpleNamespace(inputs=inputs, length=RunLength(40, 0), pruning=None)
    see = watch_loss(job, RunDir(tmp_path), 0)
    for step in range(1, 41):
        errors = batches.batch(step - 1)["labels"] - labels.mean()
        see(step, {"task_loss": np.mean(errors**2)})
    assert len(warnings()) == found


def test_one_label_decides_nothing():
    assert verdict([Line(t, 0.01, 0.0) for t in range(9)]) is None


def test_a_spike_of_a_good_run_is_no_collapse():
    lines = [Line(t, 0.2, 0.69) for t in range(7)]
    assert verdict(lines) == "better"
    assert verdict([*lines, Line(7, 9.0, 0.69)]) is None


def test_the_text_names_step_density_losses_and_options():
    text = message(Finding(False, 0.7, 0.69), 40, None, remedies(None))
    assert text == (
        "the training loss never was below that of guessing at step 40: 0.7, where guessing gives "
        "0.69. The model has learnt nothing; lower --learning-rate"
    )


def test_advice_for_runs_of_weights_is_about_the_structure():
    def advice(structure):
        return remedies(Pruning(Movement(final=0.5), structure=structure))

    assert advice(Structure()) == [
        "lower --learning-rate", "give a higher --density",
        "give --density without --method, the recommended recipe",
    ]  # fmt: skip
    assert advice(Structure((Part(".*", NofM(2, 4)),))) == [
        "lower --learning-rate", "keep more of every run by --structure",
        "give --structure without --method, the recommended recipe",
    ]  # fmt: skip


OPTIONS = {
    "steps": 240, "warmup": 16, "initial_warmup": 8.0, "final_warmup": 4.0, "log_every": 2,
    "method": "magnitude", "checkpoint_every": 1000, "learning_rate": 2e-2, "limit_train": 16,
    "seed": 3,
}  # dense until step 128, at the final density from 176 on  # fmt: skip
DEAD, ALIVE = 0.002, 0.9  # int(0.002 * 384) weights of a matrix are none


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def warnings(caplog):
    """Warnings of the run since they were last taken."""

    def taken():
        texts = [r.message for r in caplog.records if r.levelno == logging.WARNING]
        caplog.clear()
        return [text for text in texts if "guessing" in text]

    return taken


def config(root, output, **changes):
    return tiny.config(root, output=str(output), **(OPTIONS | changes))


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_a_run_that_collapses_says_so_once_and_keeps_its_files(root, tmp_path, warnings):
    train(config(root, tmp_path / "dead", density=DEAD))
    [text] = warnings()
    assert f"{tmp_path / 'dead'}: the training loss is back at that of guessing at step" in text
    assert "give a higher --density" in text and "--learning-rate" in text
    lines = [line for line in read_lines(RunDir(tmp_path / "dead").metrics) if "loss" in line]
    density = next(x["density"] for x in lines if f"at step {x['step']}," in text)
    assert f"at density {density:.3g}:" in text
    assert set(lines[0]) == {
        "step", "density", "grad_norm", "lam", "learning_rate", "loss", "penalty", "task_loss",
        "threshold",
    }  # fmt: skip
    train(config(root, tmp_path / "alive", density=ALIVE))
    train(config(root, tmp_path / "short", density=DEAD, steps=6, warmup=1, initial_warmup=1.0))
    assert warnings() == []


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("stop", [150, 236])
def test_a_continued_run_knows_what_was_before(stop, root, tmp_path, warnings, monkeypatch):
    write = training.Journal.train

    def stop_here(journal, step, metrics):
        write(journal, step, metrics)
        if step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(training.Journal, "train", stop_here)
        with pytest.raises(Interrupted):
            train(config(root, tmp_path / "run", density=DEAD))
    before = warnings()
    train(config(root, tmp_path / "run", density=DEAD))
    after = warnings()
    assert len(before + after) == 1, "before the stop or after it, and not twice"
    assert (len(before), len(after)) == {150: (0, 1), 236: (1, 0)}[stop]
    assert "is back at" in (before + after)[0]  # it was better before the stop


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_a_member_of_a_sweep_says_so_by_its_folder(root, tmp_path, warnings):
    base = config(root, tmp_path / "sweep", density=None)
    sweep(base, {"density": [DEAD, ALIVE]}, devices=1)
    [text] = warnings()
    assert f"members/density-{DEAD}: the training loss is back" in text
