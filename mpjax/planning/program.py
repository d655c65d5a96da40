"""Train step of a config, with shapes in place of arrays."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mpjax import tasks
from mpjax.config.length import run_length
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.models import EncoderConfig
from mpjax.parallel.mesh import batch_parts
from mpjax.parallel.sharding import shardings
from mpjax.planning.shape import abstract_model
from mpjax.runs.opening import MODEL_HEADS
from mpjax.training.build import make_optimizers, make_pruning, optimizer_config
from mpjax.training.losses import task_loss
from mpjax.training.memory.announce import computed_on
from mpjax.training.memory.estimate import StepMemory, Trained, step_memory
from mpjax.training.prepare import as_computed, check_trainable
from mpjax.training.state import TrainState, create_state
from mpjax.training.step import make_train_step

_STEPS_PER_EPOCH = 1000  # any number: run lengths are constants of the program and cost nothing


@dataclass(frozen=True)
class AbstractStep:
    """Jitted train step and the shapes of its arguments.

    Attributes:
      module: of the model.
      trained: what of it is trained.
    """

    function: Any
    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]
    module: Any
    trained: Trained

    def lower(self) -> Any:
        """Lowered step, to compile or to count its FLOPs."""
        return self.function.lower(self.state, self.batch)


def abstract_step(config: TrainConfig, shape: EncoderConfig, mesh: Mesh | None) -> AbstractStep:
    """Step that `mpjax train` would compile for a resolved config, on a mesh or on one device.

    Its hyperparameters are constants here, and arguments in a run.

    Raises:
      InputError: sizes of the model, the batch or the structure that do not fit together.
    """
    task = tasks.get(config.task)
    model = as_computed(abstract_model(shape, task, config.dtype), config)
    check_trainable(model)
    if config.max_length > shape.max_length:
        raise InputError(
            f"--max-length {config.max_length} is more than the {shape.max_length} positions of "
            "the model; lower it"
        )
    pruning, length = make_pruning(config, shape.head_size), run_length(config, _STEPS_PER_EPOCH)
    if pruning is not None:
        # Refuses sizes that the groups do not divide.
        pruning.groups(model.params)
    tx = make_optimizers(config, pruning, length)(None)
    state = jax.eval_shape(lambda params: create_state(params, pruning, tx), model.params)
    step = make_train_step(
        model.module, pruning, tx, task_loss(task.head),
        accumulate=config.accumulate, shardings=None if mesh is None else shardings(state, mesh),
    )  # fmt: skip
    trained = Trained(pruning is not None, optimizer_config(config, length).frozen)
    return AbstractStep(step, state, _batch(task.head, config), model.module, trained)


def _batch(head: str, config: TrainConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch of rows of maximal length."""
    rows, tokens = (config.batch_size,), (config.batch_size, config.max_length)
    labels: dict[str, tuple[tuple[int, ...], Any]] = {
        "classification": {"labels": (rows, jnp.int32)},
        "regression": {"labels": (rows, jnp.float32)},
        "qa": {"start_positions": (rows, jnp.int32), "end_positions": (rows, jnp.int32)},
        "tokens": {"labels": (tokens, jnp.int32)},
        "mlm": {"labels": (tokens, jnp.int32)},
    }[head]
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    entries = dict.fromkeys(inputs, (tokens, jnp.int32)) | labels
    return {name: jax.ShapeDtypeStruct(*entry) for name, entry in entries.items()}


def expected_memory(
    step: AbstractStep, config: TrainConfig, shape: EncoderConfig, mesh: Mesh
) -> StepMemory:
    """Memory of a step on each device of a mesh, by arithmetic."""
    rows = config.batch_size // config.accumulate // batch_parts(mesh)
    computed = computed_on(step.module, mesh, (rows, config.max_length), config.accumulate)
    places, head = shardings(step.state, mesh), tasks.get(config.task).head
    return step_memory(step.state, places, shape, MODEL_HEADS[head], step.trained, computed)


def step_flops(config: TrainConfig, shape: EncoderConfig) -> float:
    """FLOPs of a step on all devices together, as traced, before the compiler changes anything.

    Counted without loops over layers and microbatches: `cost_analysis` counts a loop body once.
    """
    flat = dataclasses.replace(config, scan_layers=False, accumulate=1)
    return abstract_step(flat, shape, None).lower().cost_analysis()["flops"]


def state_bytes(step: AbstractStep, mesh: Mesh) -> int:
    """Bytes of the train state on each device of a mesh."""
    places = shardings(step.state, mesh)
    total = 0
    for leaf, place in zip(jax.tree.leaves(step.state), jax.tree.leaves(places), strict=True):
        part = jax.ShapeDtypeStruct(place.shard_shape(leaf.shape), leaf.dtype)
        total += part.size * (leaf.dtype.itemsize or 8)  # 8 for a PRNG key, two uint32
    return total
