"""`mpjax train`: one run from its config to a finished folder."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import jax

from mpjax import models, report
from mpjax.config.recorded import as_dict
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import write_json
from mpjax.log import log
from mpjax.models.hf.tensors import read_tensors
from mpjax.parallel import sharding
from mpjax.parallel.consensus import Agreement, check_same, check_visible, first, from_first
from mpjax.runs import folder, journal, provenance, records
from mpjax.runs.alone import alone
from mpjax.runs.checkpoints import Checkpoints
from mpjax.runs.folder import RunDir
from mpjax.runs.journal import Journal, Watch
from mpjax.runs.opening import check_converged
from mpjax.runs.signals import StopRequests
from mpjax.trackers import Reports
from mpjax.training.divergence import Diverged, watch_finite
from mpjax.training.evaluate import score_dev
from mpjax.training.job import Job
from mpjax.training.loop import Program, Span, run_steps
from mpjax.training.memory.announce import announce_memory, host_bytes
from mpjax.training.predict import make_predict
from mpjax.training.prepare import prepare
from mpjax.training.programs import RunPrograms, run_programs
from mpjax.training.recording.collapse import watch_loss
from mpjax.training.recording.reporting import begin_reports, reports_of
from mpjax.training.recording.warned import kept_warnings
from mpjax.training.state import TrainState
from mpjax.training.teacher import with_teacher_logits


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains, or continues, or reports a finished run; returns the content of `result.json`.

    The same config gives the same `metrics.jsonl` and model, however often it was interrupted.

    Raises:
      InputError: a mistake in the options, the data or the model; nothing has been written then.
      Interrupted: a signal of `StopRequests`; a checkpoint has been saved.
    """
    return train_resolved(resolve(config))


def train_resolved(config: TrainConfig) -> dict[str, Any]:
    """`train` of a config that `resolve` has checked and completed."""
    config = folder.with_dtype(config)
    run = folder.check(config)
    check_same({**as_dict(config), "cache": None, "finished": run.result.is_file()})
    with alone(run.path):
        return _train_alone(config, run)


def _train_alone(config: TrainConfig, run: RunDir) -> dict[str, Any]:
    """`train_resolved` in a folder that no other process writes."""
    if (result := run.read_result()) is not None:
        check_converged(run, result)
        log.warning("%s is finished; nothing to train", run.path)
        return result
    with ExitStack() as stack:
        stack.enter_context(kept_warnings(run, first()))
        job = prepare(config)
        check_same(job.derived)
        changed = folder.create(run, config, job.derived) if first() else {}
        check_visible(run.config.name, run.path, run.config.is_file)
        reports = stack.enter_context(reports_of(job, run, first()))
        params = _train(with_teacher(job), run, changed, reports)
        if jax.process_count() > 1:
            params = jax.tree.map(sharding.fetch, params)
        result = from_first(lambda: finish(job, run, params))
        reports.result(result)
        return result


def with_teacher(job: Job) -> Job:
    """Job with teacher logits among the arrays of its batches; unchanged without a teacher."""
    inputs = job.inputs
    if inputs.teacher is None:
        return job
    batches = with_teacher_logits(
        inputs.batches, inputs.teacher, inputs.task, job.eval_batch, job.cache, inputs.mesh
    )
    return dataclasses.replace(job, inputs=dataclasses.replace(inputs, batches=batches))


def finish(job: Job, run: RunDir, params: Any) -> dict[str, Any]:
    """Writes the model and the result of a run that has trained to its end; returns the result.

    Args:
      params: finalized parameters.
    """
    model, total = job.inputs.model, job.length.total_steps
    score = journal.last_score(run)
    assert score is not None and score[0] == total, "the last step evaluates"
    models.save_model(run.model, model.config, params, model.head, model.folder, exist_ok=True)
    missed = None if job.pruning is None else job.pruning.density_note(params)
    if missed is not None:
        log.warning("%s: %s", run.path, missed)
    full = models.dense_shapes(model.config)
    density = report.measure(read_tensors(run.model)[1], full)
    result = {
        "task": job.inputs.task.name,
        "method": job.method,
        "metric": job.inputs.task.metric,
        "score": score[1],
        "linear_density": density.linear,
        "encoder_remaining": density.encoder_remaining,
        "steps": total,
        "seconds": round(journal.seconds(run), 2),
    }
    write_json(run.result, result)
    return result


def _train(job: Job, run: RunDir, changed: Mapping[str, Any], reports: Reports) -> Any:
    """Finalized parameters after the last step.

    Args:
      changed: options that differ from the sessions before, for the provenance.
    """
    inputs, mesh = job.inputs, job.inputs.mesh
    memory = announce_memory(job, job.optimizer(None), bool(records.steps(run.checkpoints)))
    state, programs = run_programs(job)
    program = _program(job, programs, host_bytes(memory, mesh.local_devices))
    total = job.length.total_steps
    with ExitStack() as stack:
        checkpoints = stack.enter_context(_checkpoints(job, run))
        stop = stack.enter_context(StopRequests())
        start = checkpoints.latest()
        state = checkpoints.restore(state)
        if start:
            log.warning("continuing %s from step %d of %d", run.path, start, total)
        if first():
            provenance.record(run, start, changed)
            folder.change(run, changed)
        batch_size = inputs.batches.batch_size
        watch = Watch(watch_loss(job, run, start), watch_finite(job.mishaps.most_skipped))
        notes = Journal(run, start, batch_size, reports, job.learning_rates, first(), watch)
        begin_reports(reports, run, start if changed else None)
        agreed = Agreement(mesh)
        span = Span(start, total, job.label, run.path, batch_size)
        stopped = functools.partial(_stopped, agreed, stop)
        try:
            state = run_steps(program, state, span, job.cadence, notes, checkpoints, stopped)
        except Diverged as error:
            raise InputError(f"{error}. {_remedy(checkpoints, run)}") from error
    return programs.finalize(state)


def _checkpoints(job: Job, run: RunDir) -> Checkpoints:
    """Checkpoints of a run, which hold its growing files and are ranked by dev score."""
    metric = job.inputs.task.metric

    def rank(score: Mapping[str, float] | None) -> float | None:
        value = math.nan if score is None else score.get(metric, math.nan)
        return value if math.isfinite(value) else None

    return Checkpoints(
        run.checkpoints,
        files={path.name: path for path in run.growing},
        keep=job.mishaps.keep,
        rank=rank,
        strict=job.mishaps.strict,
    )


def _stopped(agreed: Agreement, stop: StopRequests) -> int:
    return agreed(stop.signal or 0)


def _remedy(checkpoints: Checkpoints, run: RunDir) -> str:
    """Advice for a run that has diverged."""
    step = checkpoints.latest()
    if step == 0:
        return f"{run.path} holds no checkpoint yet: remove it, or choose another --output"
    return (
        f"The checkpoint of step {step} is good: the same command with --continue-with "
        "learning-rate=X goes on from there, or with --on-nan skip"
    )


def _program(job: Job, programs: RunPrograms, memory: int) -> Program:
    inputs, mesh = job.inputs, job.inputs.mesh
    rows = sharding.own_rows(mesh, inputs.batches.batch_size)
    predict = make_predict(inputs.model.module)

    def score(state: TrainState) -> dict[str, float]:
        return score_dev(predict, programs.finalize(state), inputs.dev, job.eval_batch, mesh)

    return Program(
        batch=lambda step: sharding.place_batch(inputs.batches.batch(step, rows), mesh),
        step=programs.step,
        measure=programs.measure,
        score=score,
        memory=memory,
    )
