"""Opening a model by the name of a run, a model folder, a packed model or a hub repository."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mpjax import models
from mpjax.config.recorded import is_run
from mpjax.errors import InputError
from mpjax.models import LABEL_WORDS, EncoderConfig, Model
from mpjax.runs.folder import RunDir
from mpjax.tasks.base import Task

# Model head by kind of task: a regression is a classifier with one output.
MODEL_HEADS = {"classification": "classification", "regression": "classification",
               "tokens": "tokens", "qa": "qa", "mlm": "mlm"}  # fmt: skip

# By it `transformers.pipeline` shows a classifier's outputs as probabilities, or as they are.
PROBLEM_TYPES = {"classification": "single_label_classification", "regression": "regression"}


def model_folder(name: str | Path) -> Path:
    """Local model folder of a run, a model folder or a hub name."""
    if not is_run(name):
        return models.local_folder(name)
    run = RunDir(Path(name))
    if not run.model.is_dir():
        check_converged(run, run.read_result() or {})
        raise InputError(
            f"the run in {name} is not finished, it has no model yet; "
            "give its mpjax train command again to finish it"
        )
    return run.model


def check_converged(run: RunDir, result: Mapping[str, Any]) -> None:
    """Raises `InputError` for the result of a member of a sweep that has diverged."""
    if "diverged" in result:
        raise InputError(
            f"the run in {run.path} has diverged at step {result['diverged']} and has no model; "
            "train it in another folder with a lower --learning-rate"
        )


def load_for_task(
    folder: Path,
    task: Task,
    dtype: str,
    seed: int,
    *,
    masked: bool = True,
    threshold: float | None = None,
    places: Mapping[str, int] | None = None,
) -> Model:
    """Model with the head that a task needs, its parameters on the host.

    The label words of a folder are its classifier, if it has as many as the task has labels.

    Devices receive their shards later, once the mesh is known.

    Args:
      masked: mask the weights of a training checkpoint, see `plain.load_plain`; else leave them
        as they are, with the scores beside them.
      places: index of every class in the folder's classifier, where the user gives it.
    """
    labels = ("LABEL_0",) if task.head == "regression" else places or task.labels or None
    head, options = MODEL_HEADS[task.head], {"labels": labels, "seed": seed, "dtype": dtype}
    others = ()
    if task.head == "classification" and models.has_label_words(folder):
        found = models.read_config(folder)
        if found.num_labels == len(task.labels):
            head = LABEL_WORDS
        else:
            others = found.id2label or ()
    if masked:
        model = models.load_plain(folder, head, threshold=threshold, **options)
    else:
        model = models.load_with_scores(folder, head, **options)
    return dataclasses.replace(
        model,
        config=_for_problem(model.config, task) if model.head == "classification" else model.config,
        params=jax.device_get(model.params),
        other_labels=model.other_labels or others,
    )


def _for_problem(config: EncoderConfig, task: Task) -> EncoderConfig:
    """Config of a classifier whose ``problem_type`` is the task's."""
    extra = {**config.extra, "problem_type": PROBLEM_TYPES[task.head]}
    return dataclasses.replace(config, extra=extra)
