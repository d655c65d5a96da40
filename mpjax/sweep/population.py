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
from mpjax.training.programs import RunFunctions
from mpjax.training.recording.churn import ChurnMeasure, Marks
from mpjax.training.state import TrainState

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


def make_population(job: Job, devices: Sequence[Any]) -> Population:
    """Programs for runs that differ from `job` in nothing but hyperparameters, seed and data order.

    The members are laid over the devices, whose number must divide theirs.
    """
    mesh = Mesh(np.asarray(devices), (MEMBERS,), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec(MEMBERS))

    functions = RunFunctions(job)

    def over_members(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return jax.jit(jax.vmap(function), in_shardings=spread, out_shardings=spread, **options)

    select = over_members(functions.select)
    measure = over_members(functions.measure, donate_argnums=3)
    final = over_members(functions.finalize)

    def measured(values: Hyperparameters, state: TrainState, before: Marks):
        return measure(values, state, select(values, state), before)

    blank = over_members(functions.blank_marks)
    return Population(
        create=over_members(
            lambda seed, values, params: functions.create(params, job.inputs.scores, seed, values)
        ),
        step=over_members(functions.train_step, donate_argnums=1),
        measure=lambda values: ChurnMeasure(functools.partial(measured, values), blank),
        finalize=lambda values, state: final(values, state, select(values, state)),
        sharding=spread,
    )


def stack(members: Sequence[Any]) -> Any:
    """Trees of host arrays as one tree with a leading axis.

    >>> stack([{"a": 1.0}, {"a": 2.0}])["a"].tolist()
    [1.0, 2.0]
    """
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *members)
