"""Many runs as one program: their differences are traced, everything else is compiled once.

`jax.vmap` over members maps a run's own train step, with its `Hyperparameters` as an argument. So a
member is computed as it would be alone, and one program serves any values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mpjax.optim import Hyperparameters
from mpjax.training.job import Job
from mpjax.training.recording.churn import ChurnMeasure, Marks, blank_marks, make_churn
from mpjax.training.state import TrainState, create_state
from mpjax.training.step import finalize, make_train_step

MEMBERS = "members"  # axis of the mesh


@dataclass(frozen=True)
class Population:
    """Compiled programs over arrays whose leading axis is the members.

    Attributes:
      create: state from (seeds, hyperparameters, params).
      step: next state and metrics from (hyperparameters, state, batch); the state is donated.
      measure: from hyperparameters; logged metrics of the state before a step from the state.
      finalize: plain parameters from (hyperparameters, state).
      sharding: of the leading axis.
    """

    create: Callable[[Any, Hyperparameters, Any], TrainState]
    step: Callable[[Hyperparameters, TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    measure: Callable[[Hyperparameters], ChurnMeasure]
    finalize: Callable[[Hyperparameters, TrainState], Any]
    sharding: NamedSharding


def host_hyperparameters(job: Job) -> Hyperparameters:
    """Hyperparameters of one run as host scalars; a density brings the counts of its end."""
    dtype = jax.numpy.result_type(float)

    def number(value: float | None) -> Any:
        return None if value is None else np.asarray(value, dtype)

    values, pruning = job.hyperparameters, job.pruning
    final = counts = None
    if pruning is not None and pruning.rule.final_density is not None:
        final = pruning.rule.final_density
        counts = {
            size: np.asarray(pruning.rule.num_kept(float(final), size), np.int32)
            for size in pruning.score_sizes(job.inputs.model.params)
        }
    return Hyperparameters(
        number(values.learning_rate),
        number(values.score_learning_rate),
        number(values.final_lambda),
        number(final),
        counts,
    )


def create(job: Job, seed: Any, hyperparameters: Hyperparameters, params: Any) -> TrainState:
    """The state of one member before its first step."""
    return create_state(
        params, job.pruning, job.optimizer(hyperparameters),
        seed=seed, score_init=job.score_init, scores=job.inputs.scores,
    )  # fmt: skip


def make_population(job: Job, devices: Sequence[Any]) -> Population:
    """Programs for runs that differ from `job` in nothing but hyperparameters, seed and data order.

    The members are laid over the devices, whose number must divide theirs.
    """
    mesh = Mesh(np.asarray(devices), (MEMBERS,), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec(MEMBERS))

    def step(values: Hyperparameters, state: TrainState, batch: Any):
        train_step = make_train_step(
            job.inputs.model.module, job.pruning, job.optimizer(values), job.loss,
            accumulate=job.accumulate, hyperparameters=values,
        )  # fmt: skip
        return train_step(state, batch)

    def measure(values: Hyperparameters, state: TrainState, before: Marks):
        return make_churn(job.pruning, values)(state, before)

    def final(values: Hyperparameters, state: TrainState):
        return finalize(state, job.pruning, values)

    def over_members(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return jax.jit(jax.vmap(function), in_shardings=spread, out_shardings=spread, **options)

    measured = over_members(measure, donate_argnums=2)
    blank = over_members(lambda state: blank_marks(job.pruning, state))
    return Population(
        create=over_members(lambda seed, values, params: create(job, seed, values, params)),
        step=over_members(step, donate_argnums=1),
        measure=lambda values: ChurnMeasure(functools.partial(measured, values), blank),
        finalize=over_members(final),
        sharding=spread,
    )


def stack(members: Sequence[Any]) -> Any:
    """Trees of host arrays as one tree with a leading axis.

    >>> stack([{"a": 1.0}, {"a": 2.0}])["a"].tolist()
    [1.0, 2.0]
    """
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *members)


def member_bytes(job: Job) -> tuple[int, int]:
    """Bytes of one member: its state, and at least what a step adds, which is gradients of all that
    is trained and the masked parameters."""
    seed = np.asarray(job.seed, np.uint32)
    values, params = host_hyperparameters(job), job.inputs.model.params
    state = jax.eval_shape(lambda s, h, p: create(job, s, h, p), seed, values, params)
    return _bytes(state), 2 * _bytes(state.variables)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
