"""The train step: one jitted function from (state, batch) to (state, metrics)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from mpjax.optim import (
    ClipState,
    Hyperparameters,
    SkipState,
    SparsityState,
    find_state,
    held_marks,
    pruning_state,
)
from mpjax.parallel.sharding import batch_sharding, constrain, gather, replicated
from mpjax.pruning import Pruning, Rule, Tree
from mpjax.pruning.topk.num_kept import Threshold
from mpjax.training.accumulation import value_and_grad
from mpjax.training.losses import Loss
from mpjax.training.predict import Batch, apply_model
from mpjax.training.state import TrainState


def make_train_step(
    module: nn.Module,
    pruning: Pruning | None,
    tx: optax.GradientTransformation,
    loss: Loss,
    *,
    accumulate: int = 1,
    shardings: TrainState | None = None,
    hyperparameters: Hyperparameters | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles the step; the state that goes in is donated, so use the one that comes out.

    Masks are made once per step from the scores and the threshold that the optimiser state holds,
    the model is applied to ``params ∘ masks`` and knows nothing of pruning, and the gradients of
    both collections go through one optax chain.

    Args:
      module: Linen model, ``apply({"params": p}, input_ids, attention_mask, token_type_ids,
        deterministic=…, rngs=…)`` to logits.
      pruning: what is pruned and how, or None for plain fine-tuning.
      tx: from ``optim.make_optimizer`` with the same pruning.
      loss: of (logits, batch), a scalar; see ``losses.task_loss``.
      accumulate: microbatches of a batch, see :func:`make_gradients`.
      shardings: of the state, from ``sharding.shardings``; the batch is split over ``data`` and
        ``fsdp`` of their mesh. None = the default device.
      hyperparameters: those of ``tx``, where they are traced.

    Returns:
      ``step(state, batch)`` to the next state and scalar metrics, ``task_loss`` (without penalty),
      ``grad_norm`` (of all that is trained, penalty included, before clipping) and ``skipped``
      (updates left out so far, as their gradients were not finite; see `skip_not_finite`). Metrics
      that depend on the state alone come from :func:`make_measure`.

    Raises:
      ValueError: when called, for an optimiser made without the pruning.
    """
    mesh: Any = None if shardings is None else shardings.step.mesh  # pyright: ignore
    function = train_step(
        module, pruning, tx, loss, accumulate=accumulate, mesh=mesh, hyperparameters=hyperparameters
    )
    if shardings is None:
        return jax.jit(function, donate_argnums=0)
    return jax.jit(
        function,
        donate_argnums=0,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
    )


def train_step(
    module: nn.Module,
    pruning: Pruning | None,
    tx: optax.GradientTransformation,
    loss: Loss,
    *,
    accumulate: int = 1,
    mesh: Mesh | None = None,
    hyperparameters: Hyperparameters | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """The function that :func:`make_train_step` compiles; arguments as there.

    Args:
      mesh: that state and batch are split over; None = one device.
    """
    gradients = make_gradients(module, pruning, loss, accumulate=accumulate, mesh=mesh)

    def train_step(state: TrainState, batch: Batch):
        dropout_key, noise_key = _keys(state)
        threshold, noise = None, None
        if (now := _schedule(pruning, state)) is not None and pruning is not None:
            threshold = _density(now, hyperparameters)
            noise = pruning.sample_noise(noise_key, state.scores)
        (task_loss, _), grads = gradients(
            state.variables, batch, threshold, dropout_key, noise, held_marks(state.opt_state)
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.variables)
        variables: Any = optax.apply_updates(state.variables, updates)
        new = state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            step=state.step + 1, opt_state=opt_state, **variables
        )
        metrics = {"task_loss": task_loss}
        if (clip := find_state(opt_state, ClipState)) is not None:
            metrics["grad_norm"] = jnp.where(clip.finite, clip.norm, jnp.nan)
        if (skip := find_state(opt_state, SkipState)) is not None:
            metrics["skipped"] = skip.skipped
        return new, metrics

    return train_step


def make_gradients(
    module: nn.Module,
    pruning: Pruning | None,
    loss: Loss,
    *,
    accumulate: int = 1,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[tuple[jax.Array, tuple[Tree, jax.Array]], Any]]:
    """The part of the step before the optimiser, a pure function.

    The masks are made once; the gradient of the pruned parameters, which the microbatches add up,
    goes back through them once, to weights and scores.

    Args:
      accumulate: microbatches of a batch; see :func:`accumulation.value_and_grad`. Each gathers the
        parameters anew, so that what adds up are shards in the parameters' dtype.
      mesh: that the parameters are split over; see :func:`sharding.gather`.

    Returns:
      ``gradients(variables, batch, threshold, dropout_key=None, noise=None, kept=None)`` to
      ``((task_loss, (masks, logits)), grads)``, the gradients over both collections, masks in the
      shapes of the kernels.
    """

    def prune(variables, threshold, noise, kept):
        params, scores = variables["params"], variables.get("scores", {})
        if pruning is None:
            return params, {}
        if kept is None and mesh is not None:
            kept = shared_marks(pruning, variables, threshold, noise, mesh)
        return pruning.prune(params, scores, threshold, noise, kept=kept)

    def loss_fn(params, batch, dropout_key):
        if mesh is not None:
            params = gather(params, mesh, getattr(module, "dtype", None))
        logits = apply_model(module, params, batch, dropout_key)
        return loss(logits, batch), logits

    def gradients(variables, batch, threshold, dropout_key=None, noise=None, kept=None):
        params, pull_back, masks = jax.vjp(
            lambda v: prune(v, threshold, noise, kept), variables, has_aux=True
        )
        (task_loss, logits), slope = value_and_grad(loss_fn, accumulate)(params, batch, dropout_key)
        if mesh is not None:
            # Added up here, once: the scores' gradient takes its shards of the sum.
            slope = constrain(slope, mesh)
        return (task_loss, (masks, logits)), pull_back(slope)[0]

    return gradients


def shared_marks(
    pruning: Pruning, variables: Tree, threshold: Threshold, noise: Tree | None, mesh: Mesh
) -> Tree | None:
    """Marks of `Pruning.keep`, selected on shards over ``data`` and gathered as booleans.

    None where nothing is split over ``data``, and for gates, which are more than their marks.
    """
    if mesh.shape["data"] == 1:
        return None
    if noise is not None or not _are_marks(pruning, variables, threshold):
        return None
    params, scores = variables["params"], variables.get("scores", {})
    shards = constrain({"scores": jax.lax.stop_gradient(params)}, mesh)["scores"]
    marks = pruning.keep(shards, jax.lax.stop_gradient(scores), threshold)
    # As bytes: XLA gathers booleans as int32.
    whole = constrain(jax.tree.map(lambda mark: mark.astype(jnp.int8), marks), mesh)
    return jax.tree.map(lambda mark: mark != 0, whole)


def _are_marks(pruning: Pruning, variables: Tree, threshold: Threshold) -> bool:
    """Whether the masks of a rule are nothing but marks, not gates between 0 and 1."""
    params, scores = variables["params"], variables.get("scores", {})
    _, masks = jax.eval_shape(lambda: pruning.prune(params, scores, threshold))
    return all(mask.dtype == bool for mask in jax.tree.leaves(masks))


def make_measure(
    pruning: Pruning | None, hyperparameters: Hyperparameters | None = None
) -> Callable[[TrainState], dict[str, jax.Array]]:
    """Compiles the logged metrics that depend on a state alone; no part of the step, which would
    pay for them every time.

    Args:
      pruning, hyperparameters: those of the step.

    Returns:
      ``measure(state)`` to scalars of the step that comes next, ``threshold``, ``lam``, ``penalty``
      (R, unscaled; its loss is ``task_loss + lam · penalty``) and ``density`` (of its masks); {}
      without pruning. Errors as for the step.
    """

    return jax.jit(lambda state: measure_marks(state, pruning, hyperparameters)[0])


def kept_marks(
    state: TrainState, pruning: Pruning | None, hyperparameters: Hyperparameters | None = None
) -> Tree | None:
    """Marks of the scores that the next step keeps, as of `Pruning.keep`.

    None without pruning, and for gates that do not follow from their marks. Errors as of
    :func:`make_measure`.
    """
    now = _schedule(pruning, state)
    if pruning is None or now is None:
        return None
    if (held := held_marks(state.opt_state)) is not None:
        return held
    threshold = _density(now, hyperparameters)
    gates = type(pruning.rule).masks_of_kept is not Rule.masks_of_kept
    if not (gates or _are_marks(pruning, state.variables, threshold)):
        return None
    return pruning.keep(state.params, state.scores, threshold)


def measure_marks(
    state: TrainState,
    pruning: Pruning | None,
    hyperparameters: Hyperparameters | None = None,
    *,
    kept: Tree | None = None,
) -> tuple[dict[str, jax.Array], Tree]:
    """Metrics of :func:`make_measure`, and the kept weights of the next step without gate noise.

    The marks are boolean and have the shapes of the kernels.

    Args:
      kept: :func:`kept_marks` of the state, so that they are not made again.
    """
    now = _schedule(pruning, state)
    if pruning is None or now is None:
        return {}, {}
    noise = pruning.sample_noise(_keys(state)[1], state.scores)
    threshold = _density(now, hyperparameters)
    held = held_marks(state.opt_state) if kept is None else kept
    _, masks = pruning.prune(state.params, state.scores, threshold, noise, kept=held)
    metrics = {
        "threshold": now.threshold,
        "lam": now.lam,
        "penalty": pruning.penalty(state.scores),
        "density": pruning.density(masks),
    }
    if noise is not None:
        _, masks = pruning.prune(state.params, state.scores, threshold, kept=held)
    return metrics, jax.tree.map(lambda mask: mask != jnp.zeros((), mask.dtype), masks)


def finalize(
    state: TrainState,
    pruning: Pruning | None,
    hyperparameters: Hyperparameters | None = None,
    *,
    kept: Tree | None = None,
) -> dict[str, Any]:
    """Plain parameters of a state: masks applied, gates without noise; see `Pruning.finalize`.

    The threshold is the final one once training has reached it, so that the counts are exact;
    before that, the current one.

    Args:
      state, pruning, hyperparameters: as for :func:`make_measure`.
      kept: :func:`kept_marks` of the state, so that they are not made again.

    Raises:
      ValueError: a state whose optimiser was made without the pruning.
    """
    now = _schedule(pruning, state)
    if pruning is None or now is None:
        return state.params
    threshold = _density(now, hyperparameters)
    held = held_marks(state.opt_state) if kept is None else kept
    return pruning.finalize(state.variables, threshold, kept=held)


def _schedule(pruning: Pruning | None, state: TrainState) -> SparsityState | None:
    """Threshold and λ of the next step; None without pruning."""
    now = pruning_state(state.opt_state)
    if pruning is None and state.scores:
        raise ValueError("the state has scores but no pruning is given; pass that of its optimiser")
    if pruning is not None and now is None:
        raise ValueError(
            f"the optimiser state has no sparsity schedule, so {pruning.rule.name} would prune "
            "nothing: make the optimiser with make_optimizer(config, pruning, total_steps), or add "
            "sparsity_schedule to the chain"
        )
    return None if pruning is None else now


def _density(now: SparsityState, hyperparameters: Hyperparameters | None) -> Threshold:
    return now.threshold if hyperparameters is None else hyperparameters.density(now.threshold)


def _keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """Keys of the next step: for dropout, and for the noise of stochastic gates."""
    dropout, noise = jax.random.split(jax.random.fold_in(state.rng, state.step))
    return dropout, noise
