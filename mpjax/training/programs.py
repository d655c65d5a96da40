"""Functions of a run that take its seed and hyperparameters, and the programs made of them.

A compiled program serves any values of them: those of later runs, which find it in the cache of
compiled programs, or of many runs side by side (`mpjax.sweep.population`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mpjax import plugins
from mpjax.optim import Hyperparameters
from mpjax.parallel.sharding import batch_sharding, put, replicated
from mpjax.pruning import Tree
from mpjax.training.job import Job
from mpjax.training.predict import Batch
from mpjax.training.recording.churn import Marks, blank_marks, churn, churn_measure
from mpjax.training.state import TrainState, create_in_shards, create_state
from mpjax.training.step import finalize, kept_marks, train_step


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


def own_hyperparameters(job: Job) -> Hyperparameters:
    """`host_hyperparameters`, without the density for the rule of a plugin.

    In one run its threshold stays a scalar, which a rule may use as it likes.
    """
    values, pruning = host_hyperparameters(job), job.pruning
    if pruning is None or type(pruning.rule).__module__.partition(".")[0] == plugins.OURS:
        return values
    return values._replace(final_threshold=None, final_counts=None)


@dataclass(frozen=True)
class RunFunctions:
    """Pure functions of a run; what `jax.jit` and `jax.vmap` may trace are their arguments.

    Attributes:
      job: parts that all values share.
      mesh: of one run whose arrays are split over it; None for an array on one device.
    """

    job: Job
    mesh: Mesh | None = None

    def create(
        self, params: Any, scores: Tree | None, seed: Any, values: Hyperparameters
    ) -> TrainState:
        """State before the first step; arguments as of `create_state`."""
        job = self.job
        return create_state(
            params, job.pruning, job.optimizer(values),
            seed=seed, score_init=job.score_init, scores=scores,
        )  # fmt: skip

    def train_step(
        self, values: Hyperparameters, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Next state and metrics; see `make_train_step`."""
        job = self.job
        step = train_step(
            job.inputs.model.module, job.pruning, job.optimizer(values), job.loss,
            accumulate=job.accumulate, mesh=self.mesh, hyperparameters=values,
        )  # fmt: skip
        return step(state, batch)

    def select(self, values: Hyperparameters, state: TrainState) -> Tree | None:
        """Marks of the scores that the next step keeps, for `measure` and `finalize`.

        A program of its own: finding the cut compiles longer than all the rest of these two.
        """
        return kept_marks(state, self.job.pruning, values)

    def measure(
        self, values: Hyperparameters, state: TrainState, kept: Tree | None, before: Marks
    ) -> tuple[dict[str, Any], Marks]:
        """Logged metrics of the state before a step, and its marks; see `churn`."""
        return churn(state, self.job.pruning, kept, before, values)

    def blank_marks(self, state: TrainState) -> Marks:
        """Marks before the first ones, for `measure`."""
        return blank_marks(self.job.pruning, state)

    def finalize(self, values: Hyperparameters, state: TrainState, kept: Tree | None) -> Any:
        """Plain parameters of a state; see `step.finalize`."""
        return finalize(state, self.job.pruning, values, kept=kept)


@dataclass(frozen=True)
class RunPrograms:
    """Compiled `RunFunctions` of one run, at its own values.

    Attributes:
      step: next state and metrics from (state, batch); the state is donated.
      measure: logged metrics of the state before a step.
      finalize: plain parameters of a state, in the shards of its parameters.
    """

    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
    measure: Callable[[TrainState], dict[str, Any]]
    finalize: Callable[[TrainState], Any]


def run_programs(job: Job) -> tuple[TrainState, RunPrograms]:
    """State before the first step, created in its shards on the mesh of a run, and its programs."""
    inputs, mesh = job.inputs, job.inputs.mesh
    functions, whole = RunFunctions(job, mesh), replicated(mesh)

    def everywhere(tree: Any) -> Any:
        return put(tree, jax.tree.map(lambda _: whole, tree))

    values = everywhere(own_hyperparameters(job))
    seed = everywhere(np.asarray(job.seed, np.uint32))
    state, places = create_in_shards(
        functions.create, mesh, inputs.model.params, inputs.scores, seed, values
    )
    step = jax.jit(
        functions.train_step,
        donate_argnums=1,
        in_shardings=(whole, places, batch_sharding(mesh)),
        out_shardings=(places, whole),
    )
    final = jax.jit(functions.finalize, out_shardings=places.params)
    select = functools.partial(jax.jit(functions.select), values)
    return state, RunPrograms(
        step=functools.partial(step, values),
        measure=churn_measure(job.pruning, functions.measure, select, values),
        finalize=lambda state: final(values, state, select(state)),
    )
