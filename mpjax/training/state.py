"""Train state: everything that changes during training, as one pytree."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mpjax.parallel import sharding
from mpjax.pruning import Pruning, Tree


@dataclass(frozen=True)
class ScoreInit:
    """Initial scores: their distribution and its value or half-width, see `Rule.init_scores`."""

    init: str = "constant"
    scale: float | None = None


@flax.struct.dataclass
class TrainState:
    """State of a run after a step: the content of a checkpoint.

    ``params`` and ``scores`` are two Flax collections; scores have the paths of their kernels, or a
    path beside the kernels that share them. Threshold and λ live in ``opt_state``; see
    ``optim.pruning_state``.
    """

    step: jax.Array  # shape=(), dtype=int32: optimiser steps taken
    params: Tree
    scores: Tree
    opt_state: Any
    rng: jax.Array  # typed key; the key of a step is fold_in(rng, step)

    @property
    def variables(self) -> dict[str, Any]:
        """Both collections, as Flax and the optimiser take them."""
        return {"params": self.params, "scores": self.scores}


def create_state(
    params: Tree,
    pruning: Pruning | None,
    tx: optax.GradientTransformation,
    *,
    seed: Any = 0,
    score_init: ScoreInit = ScoreInit(),
    scores: Tree | None = None,
) -> TrainState:
    """State before the first step.

    Args:
      params: pretrained parameters, a pytree of arrays.
      pruning: what is pruned and how, or None for plain fine-tuning.
      tx: optimiser over both collections, from ``optim.make_optimizer``.
      seed: seed of dropout, gate noise and random scores.
      score_init: initial scores.
      scores: initial scores of a training checkpoint, instead of ``score_init``.

    Raises:
      ValueError: ``where`` picks nothing, or an unknown ``score_init``.
    """
    rng = jax.random.key(seed)
    initial: Tree = {}
    if scores is not None:
        plain = dict(scores) if isinstance(scores, Mapping) else scores  # a FrozenDict is one too
        initial = jax.tree.map(jnp.array, plain)
    elif pruning is not None:
        key = jax.random.fold_in(rng, 2**31 - 1)  # a step that training never reaches
        initial = pruning.init_scores(params, key, init=score_init.init, scale=score_init.scale)
    params = jax.tree.map(jnp.array, params)
    opt_state = tx.init({"params": params, "scores": initial})
    return TrainState(jnp.zeros((), jnp.int32), params, initial, opt_state, rng)


def create_in_shards(
    create: Callable[..., TrainState], mesh: Mesh, params: Any, scores: Tree | None, *values: Any
) -> tuple[TrainState, TrainState]:
    """State before the first step, every leaf created in its shards, and its shardings.

    Args:
      create: function of (params, scores, *values), such as `create_state` with the rest given.
      params, scores: host arrays.
      values: other arguments, on the devices of the mesh.
    """
    shardings = sharding.shardings(jax.eval_shape(create, params, scores, *values), mesh)
    placed = sharding.put(params, shardings.params)
    starting = None if scores is None else sharding.put(scores, shardings.scores)
    program = jax.jit(create, out_shardings=shardings, donate_argnums=(0, 1))
    return program(placed, starting, *values), shardings
