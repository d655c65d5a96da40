"""A run that is ready to start: everything made, nothing left to decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optax
from jax.sharding import Mesh

from mpjax.config.length import RunLength
from mpjax.config.recorded import DATA_DIGEST, TEACHER_DIGEST
from mpjax.models import LABEL_WORDS, Model
from mpjax.optim import Hyperparameters
from mpjax.pruning import Pruning, Tree
from mpjax.runs.own_data import dev_digest
from mpjax.tasks.base import Encoded, Row, Task
from mpjax.tasks.batches import Batches
from mpjax.training.losses import Loss
from mpjax.training.state import ScoreInit
from mpjax.training.teacher import Teacher

Lengths = tuple[int, ...] | None


@dataclass(frozen=True)
class DevSet:
    """Rows that a model is evaluated on; batches are padded to ``lengths``, None = the usual."""

    task: Task
    rows: list[Row]
    encoded: Encoded
    lengths: Lengths = None


@dataclass(frozen=True)
class Inputs:
    """Data and pretrained parameters of a run, on the host.

    Attributes:
      held: masks outside of which a filled model is zero and stays so.
      teacher: model to distil from.
      scores: scores to start from, of a training checkpoint.
      class_weights: weights of the classes in the loss, None = equal ones.
    """

    task: Task
    model: Model
    batches: Batches
    dev: DevSet
    mesh: Mesh
    held: Tree | None = None
    teacher: Teacher | None = None
    scores: Tree | None = None
    class_weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Cadence:
    """Steps between log lines, evaluations (None: at the end only) and checkpoints."""

    log_every: int
    eval_every: int | None
    checkpoint_every: int

    def logs(self, step: int) -> bool:
        """Whether the metrics of a step, counted from 1, are logged."""
        return step % self.log_every == 0

    def evaluates(self, step: int) -> bool:
        """Whether the dev set is scored after a step."""
        return self.eval_every is not None and step % self.eval_every == 0

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is saved after a step."""
        return step % self.checkpoint_every == 0


@dataclass(frozen=True)
class Mishaps:
    """Checkpoints to keep, and what happens at a damaged one or at numbers that are not finite.

    Attributes:
      keep: newest checkpoints to keep.
      strict: refuse a damaged checkpoint instead of continuing from the one before.
      most_skipped: updates that are not finite and may be skipped; 0 = stop at the first.
    """

    keep: int
    strict: bool
    most_skipped: int


@dataclass(frozen=True)
class Job:
    """Finished parts of a run; a loop over steps needs nothing else.

    Attributes:
      method: name of the rule, or "dense".
      pruning: None for plain fine-tuning.
      optimizer: optax chain for given hyperparameters, None = the run's own.
      learning_rates: learning rates by name, applied at update ``step``, counted from 0.
      seed: of dropout, gate noise and random scores.
      frozen: pattern of the paths of parameters that are not trained; "" freezes none.
      accumulate: microbatches of a batch.
      eval_batch: rows per step of evaluation.
      cache: folder of tokenised data and teacher logits, None = keep nothing.
      trackers: names of the trackers that get the metrics.
      config: options of the run, for the trackers.
    """

    inputs: Inputs
    method: str
    pruning: Pruning | None
    optimizer: Callable[[Hyperparameters | None], optax.GradientTransformation]
    hyperparameters: Hyperparameters
    learning_rates: Callable[[int], Mapping[str, Any]]
    loss: Loss
    length: RunLength
    cadence: Cadence
    mishaps: Mishaps
    seed: int
    score_init: ScoreInit
    frozen: str
    accumulate: int
    eval_batch: int
    cache: Path | None
    trackers: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Short name for progress bars."""
        return f"{self.inputs.task.name} {self.method}"

    @property
    def derived(self) -> dict[str, Any]:
        """Sizes that followed from the data, for `config.json`."""
        batches, dev, weights = self.inputs.batches, self.inputs.dev, self.inputs.class_weights
        model, teacher = self.inputs.model, self.inputs.teacher
        words = model.config.extra.get(LABEL_WORDS) if model.head == LABEL_WORDS else None
        return {
            "total_steps": self.length.total_steps,
            "warmup_steps": self.length.warmup_steps,
            "prune_every": self.length.prune_every,
            "steps_per_epoch": batches.steps_per_epoch,
            "train_rows": len(batches.encoded),
            "dev_rows": len(dev.encoded),
            **self.inputs.task.fitted,
            DATA_DIGEST: [batches.encoded.digest, dev.encoded.digest],
            **({TEACHER_DIGEST: teacher.digest} if teacher is not None else {}),
            **dev_digest(self.inputs.task, dev.rows),
            **({"class_weights": list(weights)} if weights else {}),
            **({LABEL_WORDS: words} if words else {}),
        }
