"""The train step: one jitted function from (state, batch) to (state, metrics)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from mpjax.optim import ClipState, find_state, pruning_state
from mpjax.pruning import ELEMENT, Rule, Structure, Tree, Where, mask_density, prune_params, select
from mpjax.training.accumulation import value_and_grad
from mpjax.training.losses import Loss
from mpjax.training.sharding import batch_sharding, gather, replicated
from mpjax.training.state import TrainState

Batch = Mapping[str, Any]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def make_train_step(
    module: nn.Module,
    rule: Rule | None,
    tx: optax.GradientTransformation,
    loss: Loss,
    *,
    where: Where,
    structure: Structure = ELEMENT,
    accumulate: int = 1,
    shardings: TrainState | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles the step; the state that goes in is donated, so use the one that comes out.

    Masks are made once per step from the scores and the threshold that the optimiser state holds,
    the model is applied to ``params ∘ masks`` and knows nothing of pruning, and the gradients of
    both collections go through one optax chain.

    Args:
      module: Linen model, ``apply({"params": p}, input_ids, attention_mask, token_type_ids,
        deterministic=…, rngs=…)`` to logits.
      rule: pruning rule, or None for plain fine-tuning.
      tx: from ``optim.make_optimizer`` with the same rule.
      loss: of (logits, batch), a scalar; see ``losses.task_loss``.
      where: picks the kernels to prune. structure: what one score decides about.
      accumulate: microbatches that a batch is computed in, see :func:`make_gradients`.
      shardings: of the state, from ``sharding.shardings``; the batch is split over ``data`` and
        ``fsdp`` of their mesh. None = the default device.

    Returns:
      ``step(state, batch)`` to the next state and scalar metrics: ``task_loss`` (without penalty)
      and ``grad_norm`` (of all that is trained, penalty included, before clipping). What else a log
      shows is a matter of the state alone: :func:`make_measure`.
    """

    mesh: Any = None if shardings is None else shardings.step.mesh  # pyright: ignore
    gradients = make_gradients(
        module, rule, loss, where=where, structure=structure, accumulate=accumulate, mesh=mesh
    )

    def train_step(state: TrainState, batch: Batch):
        dropout_key, _ = _keys(state)
        now = pruning_state(state.opt_state)
        threshold = None if now is None else now.threshold
        (task_loss, _), grads = gradients(
            state.variables, batch, threshold, dropout_key, _noise(rule, state)
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.variables)
        variables: Any = optax.apply_updates(state.variables, updates)
        new = state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            step=state.step + 1, opt_state=opt_state, **variables
        )
        metrics = {"task_loss": task_loss}
        clip = find_state(opt_state, ClipState)
        if clip is not None:
            metrics["grad_norm"] = clip.norm
        return new, metrics

    if shardings is None:
        return jax.jit(train_step, donate_argnums=0)
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(shardings, batch_sharding(mesh)),
        out_shardings=(shardings, replicated(mesh)),
    )


def make_gradients(
    module: nn.Module,
    rule: Rule | None,
    loss: Loss,
    *,
    where: Where,
    structure: Structure = ELEMENT,
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
      ``gradients(variables, batch, threshold, dropout_key=None, noise=None)`` to
      ``((task_loss, (masks, logits)), grads)``, the gradients over both collections.
    """

    def prune(variables, threshold, noise):
        params, scores = variables["params"], variables.get("scores", {})
        if rule is None:
            return params, {}
        return prune_params(rule, params, scores, threshold, where, noise, structure)

    def loss_fn(params, batch, dropout_key):
        if mesh is not None:
            params = gather(params, mesh, getattr(module, "dtype", None))
        logits = apply_model(module, params, batch, dropout_key)
        return loss(logits, batch), logits

    def gradients(variables, batch, threshold, dropout_key=None, noise=None):
        params, pull_back, masks = jax.vjp(
            lambda v: prune(v, threshold, noise), variables, has_aux=True
        )
        (task_loss, logits), slope = value_and_grad(loss_fn, accumulate)(params, batch, dropout_key)
        return (task_loss, (masks, logits)), pull_back(slope)[0]

    return gradients


def make_measure(
    rule: Rule | None, *, where: Where, structure: Structure = ELEMENT
) -> Callable[[TrainState], dict[str, jax.Array]]:
    """Compiles what a log shows of a state; no part of the step, which would pay for it every time.

    Args:
      rule, where, structure: those of the step.

    Returns:
      ``measure(state)`` to scalars of the step that comes next: ``threshold``, ``lam``, ``penalty``
      (R, unscaled: its loss is ``task_loss + lam · penalty``) and ``density`` (of its masks); {}
      without a rule.
    """

    def measure(state: TrainState) -> dict[str, jax.Array]:
        now = pruning_state(state.opt_state)
        if rule is None or now is None:
            return {}
        kernels = select(state.params, where)
        masks = structure.masks(rule, kernels, state.scores, now.threshold, _noise(rule, state))
        return {
            "threshold": now.threshold,
            "lam": now.lam,
            "penalty": structure.penalty(rule, state.scores),
            "density": mask_density(masks, structure.covers(kernels)),
        }

    return jax.jit(measure)


def _keys(state: TrainState) -> tuple[jax.Array, jax.Array]:
    """Of the next step: for dropout, and for the noise of stochastic gates."""
    dropout, noise = jax.random.split(jax.random.fold_in(state.rng, state.step))
    return dropout, noise


def _noise(rule: Rule | None, state: TrainState) -> dict[str, Any] | None:
    return None if rule is None else rule.sample_noise(_keys(state)[1], state.scores)


def apply_model(
    module: nn.Module, params: Tree, batch: Batch, dropout_key: jax.Array | None = None
) -> jax.Array:
    """Logits of a batch, float32 or wider whatever the module gives, for the loss and the scores.

    With a key in training mode, without one deterministic.
    """
    inputs = {name: batch[name] for name in INPUTS if name in batch}
    training = dropout_key is not None
    logits: Any = module.apply(
        {"params": params},
        **inputs,
        deterministic=not training,
        rngs={"dropout": dropout_key} if training else None,
    )
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def make_predict(module: nn.Module) -> Callable[[Tree, Batch], jax.Array]:
    """Compiles ``predict(params, batch)`` to float32 (or wider) logits, without dropout."""
    return jax.jit(lambda params, batch: apply_model(module, params, batch))


def fold(
    state: TrainState, rule: Rule | None, *, where: Where, structure: Structure = ELEMENT
) -> dict[str, Any]:
    """The plain parameters that the state stands for: masks applied, gates without noise.

    The threshold is the rule's final one once training has reached it, so that the counts are
    exact; before that, the current one. A dropped weight is +0, whatever sign it had: nobody needs
    those signs, and they would take most of the bytes of a packed model.
    """
    now = pruning_state(state.opt_state)
    if rule is None or now is None:
        return state.params
    pruned, _ = prune_params(
        rule, state.params, state.scores, now.threshold, where, structure=structure
    )
    return jax.tree.map(lambda w: jnp.where(w == 0, jnp.zeros_like(w), w), pruned)
