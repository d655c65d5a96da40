"""Masks that change every few steps only: the cut is made then, and kept in the optimiser state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from mpjax.optim.transforms import SparsityState, find_state, pruning_state
from mpjax.pruning import Pruning
from mpjax.pruning.topk.num_kept import Threshold


class HeldMasks(NamedTuple):
    """State of `hold_masks`: marks of the next forward pass."""

    kept: Any  # bool, shapes of the scores (of the kernels without scores): next forward pass
    inner: Any


def hold_masks(
    inner: optax.GradientTransformation,
    pruning: Pruning,
    due: Callable[[jax.Array], jax.Array],
    density: Callable[[Any], Threshold] = lambda threshold: threshold,
) -> optax.GradientTransformation:
    """Wraps an optimiser with a sparsity schedule; its state holds the marks of `Pruning.keep`.

    A train step hands them to `Pruning.prune`; see `held_marks`. They are made anew, from the
    updated variables, for the steps that are due; between these a step pays for no cut. Nothing may
    change the updates after it in a chain, or the marks are those of other variables.

    Args:
      inner: optimiser over ``{"params": ..., "scores": ...}`` with a `SparsityState`.
      pruning: rule, kernels and structure.
      due: whether the masks of a step change, from the step counted by the schedule.
      density: threshold of the state as the rule takes it; see `Hyperparameters.density`.

    >>> import jax.numpy as jnp
    >>> from mpjax.optim import sparsity_schedule
    >>> from mpjax.pruning import make_rule
    >>> pruning = Pruning(make_rule("magnitude", final=0.5), where="kernel")
    >>> chain = optax.chain(optax.sgd(1.0), sparsity_schedule(lambda t: 0.5))
    >>> tx = hold_masks(chain, pruning, due=lambda step: step % 2 == 0)
    >>> variables = {"params": {"kernel": jnp.array([1.0, 2.0])}, "scores": {}}
    >>> grads = {"params": {"kernel": jnp.array([-2.0, 0.0])}, "scores": {}}
    >>> _, state = tx.update(grads, tx.init(variables), variables)  # [3, 2], but step 1 is not due
    >>> state.kept["kernel"].tolist()
    [False, True]
    """

    def keep(variables: Any, state: Any) -> Any:
        now: SparsityState | None = pruning_state(state)
        if now is None:
            raise ValueError("hold_masks needs an optimiser with a sparsity_schedule")
        scores = variables.get("scores", {})
        return pruning.keep(variables["params"], scores, density(now.threshold))

    def init_fn(params):
        state = inner.init(params)
        return HeldMasks(keep(params, state), state)

    def update_fn(updates, state, params=None):
        if params is None:
            raise ValueError("hold_masks needs the variables: update(grads, state, params)")
        updates, inner_state = inner.update(updates, state.inner, params)
        now = pruning_state(inner_state)
        assert now is not None, "checked by init"
        kept = jax.lax.cond(
            due(now.step),
            lambda: keep(optax.apply_updates(params, updates), inner_state),
            lambda: state.kept,
        )
        return updates, HeldMasks(kept, inner_state)

    return optax.GradientTransformation(init_fn, update_fn)


def held_marks(opt_state: Any) -> Any:
    """Marks for the ``kept`` argument of `Pruning.prune`; None where every step cuts anew."""
    held = find_state(opt_state, HeldMasks)
    return None if held is None else held.kept
