"""The training loop: one run from its config to a finished folder."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any

import jax

from mpjax import models, report
from mpjax.models.tensors import read_tensors
from mpjax.training import journal, provenance, rundir, sharding
from mpjax.training.agreement import (
    Agreement,
    check_same,
    check_visible,
    first,
    from_first,
)
from mpjax.training.board import Board
from mpjax.training.checkpoints import Checkpoints
from mpjax.training.config import TrainConfig, as_dict, resolve
from mpjax.training.evaluate import score_dev
from mpjax.training.job import Job, prepare
from mpjax.training.journal import Journal
from mpjax.training.progress import Interrupted, StopRequests, bar, log
from mpjax.training.recipe import learning_rates, optimizer, training_loss, with_answers
from mpjax.training.rundir import RunDir
from mpjax.training.state import TrainState, create_sharded_state
from mpjax.training.step import fold, make_measure, make_predict, make_train_step


def train(config: TrainConfig) -> dict[str, Any]:
    """Trains, or continues, or reports a finished run; returns what `result.json` holds.

    The same config gives the same `metrics.jsonl` and model, however often it was interrupted.

    Raises:
      InputError: a mistake in the options, the data or the model; nothing has been written then.
      Interrupted: Ctrl-C or SIGTERM; a checkpoint has been saved.
    """
    config = resolve(config)
    run = rundir.check(config)
    result = run.read_result()
    check_same({**as_dict(config), "cache": None, "finished": result is not None})
    if result is not None:
        log.warning("%s is finished; nothing to train", run.path)
        return result
    job = prepare(config)
    check_same(job.derived)
    if first():
        rundir.create(run, config, job.derived)
    check_visible(run.config)
    params = _train(with_answers(job), run).params
    if jax.process_count() > 1:
        params = jax.tree.map(sharding.fetch, params)
    return from_first(lambda: finish(job, run, params))


def finish(job: Job, run: RunDir, params: Any) -> dict[str, Any]:
    """Writes the model and the result of a run that has trained to its end; returns the result.

    Args:
      params: folded parameters.
    """
    config = job.config
    score = journal.last_score(run)
    assert score is not None and score[0] == job.plan.total_steps, "the last step evaluates"
    models.save_model(
        run.model, job.model.config, params, job.model.head, job.model.folder, exist_ok=True
    )
    full = models.dense_shapes(job.model.config)
    density = report.measure(read_tensors(run.model)[1], full)
    result = {
        "task": config.task,
        "method": config.method,
        "metric": job.task.metric,
        "score": score[1],
        "linear_density": density.linear,
        "encoder_remaining": density.encoder_remaining,
        "steps": job.plan.total_steps,
        "seconds": round(journal.seconds(run), 2),
    }
    rundir.write_json(run.result, result)
    return result


def _train(job: Job, run: RunDir) -> TrainState:
    """The state after the last step, with its parameters folded."""
    config, total = job.config, job.plan.total_steps
    own = sharding.own_rows(job.mesh, config.batch_size)
    where = models.PRUNABLE
    tx = optimizer(job)
    state, shardings = create_sharded_state(
        job.model.params, job.rule, tx, job.mesh,
        where=where, structure=job.structure, seed=config.seed,
        score_init=config.mask_init, score_scale=config.mask_scale, scores=job.scores,
    )  # fmt: skip
    step_fn = make_train_step(
        job.model.module, job.rule, tx, training_loss(job),
        where=where, structure=job.structure, accumulate=config.accumulate, shardings=shardings,
    )  # fmt: skip
    measure = make_measure(job.rule, where=where, structure=job.structure)
    predict = make_predict(job.model.module)
    folded = jax.jit(
        functools.partial(fold, rule=job.rule, where=where, structure=job.structure),
        out_shardings=shardings.params,
    )
    with ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(run.checkpoints))
        stop = stack.enter_context(StopRequests())
        start = checkpoints.latest()
        check_same({"last checkpoint": start})  # where a file system is late, one may miss it
        state = checkpoints.restore(state)
        if start:
            log.warning("continuing %s from step %d of %d", run.path, start, total)
        if first():
            provenance.record(run, start)
        events = run.tensorboard if config.tensorboard and first() else None
        board = stack.enter_context(Board(events, start))
        notes = Journal(run, start, config.batch_size, board, writes=first())
        agreed = Agreement(job.mesh)
        steps = range(start + 1, total + 1)
        for step in bar(steps, total, start, f"{config.task} {config.method}"):
            batch = sharding.place_batch(job.batches.batch(step - 1, own), job.mesh)
            logged = step % config.log_every == 0 or step == total
            measures = measure(state) if logged else {}
            state, metrics = step_fn(state, batch)
            if logged:
                notes.train(step, {**metrics, **measures, **learning_rates(job, step - 1)})
            if step == total or (config.eval_every and step % config.eval_every == 0):
                score = score_dev(predict, folded(state), job.dev, job.eval_batch, job.mesh)
                notes.evaluation(step, score)
            signal = agreed(stop.signal or 0)
            if step % config.checkpoint_every == 0 or step == total or signal:
                notes.sync()
                checkpoints.save(state, step)
            if signal and step < total:
                checkpoints.wait()
                raise Interrupted(
                    signal,
                    f"stopped at step {step} of {total}; the same command continues {run.path}",
                )
    return state.replace(params=folded(state))  # pyright: ignore[reportAttributeAccessIssue]
