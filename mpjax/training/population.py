"""Many runs as one program: what they differ in is traced, everything else is compiled once.

`jax.vmap` over members maps a run's own train step, built inside from a job whose numbers are
traced. So a member is computed as it would be alone, and one program serves any values.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mpjax.models import PRUNABLE
from mpjax.pruning import select
from mpjax.training.job import Job
from mpjax.training.recipe import optimizer, training_loss
from mpjax.training.state import TrainState, create_state
from mpjax.training.step import fold, make_measure, make_train_step

MEMBERS = "members"  # axis of the mesh


@flax.struct.dataclass
class Traits:
    """What members may differ in: scalars, or arrays of shape (members,). None: has no such."""

    seed: Any
    learning_rate: Any
    score_learning_rate: Any | None
    final_lambda: Any | None
    final: Any | None  # density at the end
    final_counts: dict[int, Any] | None  # by number of entries, what exactly survives at the end


@dataclass(frozen=True)
class Population:
    """The compiled programs, over arrays whose leading axis is the members.

    ``create(traits, params)`` to a state, ``step(traits, state, batch)`` to state and metrics (the
    state that goes in is donated), ``measure(traits, state)`` to what a log shows of the state
    before a step, ``fold(traits, state)`` to plain parameters.
    """

    create: Callable[[Traits, Any], TrainState]
    step: Callable[[Traits, TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]
    measure: Callable[[Traits, TrainState], dict[str, jax.Array]]
    fold: Callable[[Traits, TrainState], Any]
    sharding: NamedSharding


def traits(job: Job) -> Traits:
    """Those of one run, on the host."""
    config, rule = job.config, job.rule
    dtype = jax.numpy.result_type(float)

    def number(value: float | None) -> Any:
        return None if value is None else np.asarray(value, dtype)

    final = counts = None
    if rule is not None and rule.is_density:
        final = number(rule.final)
        groups = job.structure.groups(select(job.model.params, PRUNABLE))
        sizes = [math.prod(group.shape) for group in groups if group.runs is None]
        counts = {
            n: np.asarray(rule.survivors(float(rule.final), n), np.int32)
            for n in {*sizes, sum(sizes)}
        }
    return Traits(
        seed=np.asarray(config.seed, np.uint32),
        learning_rate=number(config.learning_rate),
        score_learning_rate=number(config.score_learning_rate),
        final_lambda=number(config.final_lambda),
        final=final,
        final_counts=counts,
    )


def create(job: Job, own: Traits, params: Any) -> TrainState:
    """The state of one member before its first step."""
    job = _with_traits(job, own)
    return create_state(
        params, job.rule, optimizer(job), where=PRUNABLE, seed=own.seed,
        structure=job.structure, score_init=job.config.mask_init,
        score_scale=job.config.mask_scale, scores=job.scores,
    )  # fmt: skip


def make_population(job: Job, devices: Sequence[Any]) -> Population:
    """Programs for runs that differ from `job` in nothing but traits and data order.

    The members are laid over the devices, whose number must divide theirs.
    """
    mesh = Mesh(np.asarray(devices), (MEMBERS,), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec(MEMBERS))

    def step(own: Traits, state: TrainState, batch: Any):
        mine = _with_traits(job, own)
        train_step = make_train_step(
            job.model.module, mine.rule, optimizer(mine), training_loss(mine),
            where=PRUNABLE, structure=job.structure, accumulate=job.config.accumulate,
        )  # fmt: skip
        return train_step(state, batch)

    def measure(own: Traits, state: TrainState):
        rule = _with_traits(job, own).rule
        return make_measure(rule, where=PRUNABLE, structure=job.structure)(state)

    def folded(own: Traits, state: TrainState):
        return fold(state, _with_traits(job, own).rule, where=PRUNABLE, structure=job.structure)

    def over_members(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return jax.jit(jax.vmap(function), in_shardings=spread, out_shardings=spread, **options)

    return Population(
        create=over_members(lambda own, params: create(job, own, params)),
        step=over_members(step, donate_argnums=1),
        measure=over_members(measure),
        fold=over_members(folded),
        sharding=spread,
    )


def stack(members: Sequence[Any]) -> Any:
    """Trees of host arrays as one tree with a leading axis.

    >>> stack([{"a": 1.0}, {"a": 2.0}])["a"].tolist()
    [1.0, 2.0]
    """
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *members)


def member_bytes(job: Job) -> tuple[int, int]:
    """Of one member: its state, and what a step adds to it at least, gradients of all of it that is
    trained and the masked parameters."""
    state = jax.eval_shape(
        lambda own, params: create(job, own, params), traits(job), job.model.params
    )
    return _bytes(state), 2 * _bytes(state.variables)


def _with_traits(job: Job, own: Traits) -> Job:
    """The job with a member's numbers, which may be traced, in the place of its own."""
    config = dataclasses.replace(
        job.config,
        learning_rate=own.learning_rate,
        score_learning_rate=own.score_learning_rate,
        final_lambda=own.final_lambda,
    )
    rule = job.rule
    if rule is not None and own.final is not None:
        rule = dataclasses.replace(rule, final=own.final, final_counts=own.final_counts)
    return dataclasses.replace(job, config=config, rule=rule)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
