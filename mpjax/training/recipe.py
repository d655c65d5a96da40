"""What a job trains with: its optimiser, its loss, its learning rates."""

from __future__ import annotations

import dataclasses
from typing import Any

import optax

from mpjax import models
from mpjax.optim import OptimizerConfig, hold_zeros, make_optimizer
from mpjax.pruning import linear_warmup_decay
from mpjax.training.cache import cache_folder
from mpjax.training.config import Plan, TrainConfig
from mpjax.training.job import Job, clip_norm
from mpjax.training.losses import Loss, distillation_loss, task_loss
from mpjax.training.teacher import teacher_logits


def optimizer(job: Job) -> optax.GradientTransformation:
    """The optax chain of a run, see `optim.make_optimizer`."""
    settings = optimizer_config(job.config, job.plan)
    tx = make_optimizer(settings, job.rule, job.plan.total_steps, job.structure)
    return tx if job.held is None else optax.chain(hold_zeros(job.held), tx)


def optimizer_config(config: TrainConfig, plan: Plan) -> OptimizerConfig:
    """The hyper-parameters of a resolved config for a run of these lengths."""
    return OptimizerConfig(
        learning_rate=config.learning_rate,
        score_learning_rate=_or_zero(config.score_learning_rate),
        weight_decay=config.weight_decay,
        max_grad_norm=clip_norm(config),
        warmup_steps=plan.warmup_steps,
        initial_warmup=config.initial_warmup,
        final_warmup=config.final_warmup,
        final_lambda=_or_zero(config.final_lambda),
        first_step=config.first_step,
        frozen="" if config.train_embeddings else models.FROZEN,
    )


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value


def learning_rates(job: Job, step: int) -> dict[str, Any]:
    """Those of the update made at `step`, counted from 0."""
    rate = linear_warmup_decay(1.0, job.plan.total_steps, job.plan.warmup_steps)(step)
    rates = {"learning_rate": rate * job.config.learning_rate}
    if job.config.score_learning_rate:
        rates["score_learning_rate"] = rate * job.config.score_learning_rate
    return rates


def training_loss(job: Job) -> Loss:
    """The task's loss, or with a teacher the distilled one."""
    config, head = job.config, job.task.head
    if job.teacher is None:
        return task_loss(head)
    assert config.temperature is not None
    assert config.alpha_ce is not None and config.alpha_distil is not None
    return distillation_loss(
        head,
        temperature=config.temperature,
        alpha_ce=config.alpha_ce,
        alpha_distil=config.alpha_distil,
    )


def with_answers(job: Job) -> Job:
    """The job with its teacher's logits, made once, among the arrays of its batches."""
    if job.teacher is None:
        return job
    folder = cache_folder(job.config.cache)
    answers = teacher_logits(job.teacher, job.eval_batch, folder and folder / "teacher", job.mesh)
    return dataclasses.replace(job, batches=job.batches.with_array("teacher_logits", answers))
