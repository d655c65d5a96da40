"""The real train step of a config, traced from shapes alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from mpjax import tasks
from mpjax.config.length import run_length
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.parallel.sharding import shardings
from mpjax.planning.shape import blank_model
from mpjax.pruning import select
from mpjax.training.build import make_optimizers, make_pruning
from mpjax.training.losses import task_loss
from mpjax.training.prepare import as_computed, check_trainable
from mpjax.training.state import create_state
from mpjax.training.step import make_train_step

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from mpjax.models import EncoderConfig
    from mpjax.training.state import TrainState

_STEPS_PER_EPOCH = 1000  # lengths change constants of the program only


@dataclass(frozen=True)
class Step:
    """A train step and the shapes of what it takes."""

    function: Any
    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]

    def lower(self) -> Any:
        """The traced step, to compile or to count."""
        return self.function.lower(self.state, self.batch)


def make_step(config: TrainConfig, shape: EncoderConfig, mesh: Mesh | None) -> Step:
    """The step that `mpjax train` compiles for a resolved config, on a mesh or on one device.

    Raises:
      InputError: sizes of the model, the batch and the structure that do not go together.
    """
    task = tasks.get(config.task)
    model = as_computed(blank_model(shape, task, config.dtype), config)
    check_trainable(model)
    if config.max_length > shape.max_length:
        raise InputError(
            f"--max-length {config.max_length} is more than the {shape.max_length} positions of "
            "the model; lower it"
        )
    pruning, sizes = make_pruning(config, shape.head_size), run_length(config, _STEPS_PER_EPOCH)
    if pruning is not None:
        pruning.structure.groups(select(model.params, pruning.where))  # refuses what cannot divide
    tx = make_optimizers(config, pruning, sizes)(None)
    state = jax.eval_shape(lambda params: create_state(params, pruning, tx), model.params)
    step = make_train_step(
        model.module, pruning, tx, task_loss(task.head),
        accumulate=config.accumulate, shardings=None if mesh is None else shardings(state, mesh),
    )  # fmt: skip
    return Step(step, state, _batch(task.head, config))


def _batch(head: str, config: TrainConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of rows of full length, as `tasks` makes them."""
    rows, tokens = (config.batch_size,), (config.batch_size, config.max_length)
    labels: dict[str, tuple[tuple[int, ...], Any]] = {
        "classification": {"labels": (rows, jnp.int32)},
        "regression": {"labels": (rows, jnp.float32)},
        "qa": {"start_positions": (rows, jnp.int32), "end_positions": (rows, jnp.int32)},
        "mlm": {"labels": (tokens, jnp.int32)},
    }[head]
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    entries = dict.fromkeys(inputs, (tokens, jnp.int32)) | labels
    return {name: jax.ShapeDtypeStruct(*entry) for name, entry in entries.items()}


def step_flops(config: TrainConfig, shape: EncoderConfig) -> float:
    """FLOPs of a step on all devices together, as traced: what the model and the rule ask for.

    Counted without loops over layers and microbatches, whose bodies would count once.
    """
    flat = dataclasses.replace(config, scan_layers=False, accumulate=1)
    return make_step(flat, shape, None).lower().cost_analysis()["flops"]


def state_bytes(step: Step, mesh: Mesh) -> int:
    """Bytes of the state on each device of a mesh."""
    places = shardings(step.state, mesh)
    total = 0
    for leaf, place in zip(jax.tree.leaves(step.state), jax.tree.leaves(places), strict=True):
        part = jax.ShapeDtypeStruct(place.shard_shape(leaf.shape), leaf.dtype)
        total += part.size * (leaf.dtype.itemsize if leaf.dtype.itemsize else 8)
    return total
