"""Updates that are not finite are skipped, so that a train state holds no infinity and no NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mpjax.errors import InputError
from mpjax.optim.transforms import ClipState, find_state


class SkipState(NamedTuple):
    """State of `skip_not_finite`: updates skipped so far."""

    skipped: jax.Array  # shape=(), dtype=int32: updates skipped so far
    inner: Any


def skip_not_finite(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps an optimiser that clips: gradients or variables that are not finite move nothing.

    `clip_grad_norm` makes such gradients zero, so that the moments after it decay and stay finite;
    here the updates become zero, too, and are counted. A schedule in the chain goes on. An entry
    that its update would make infinite stays as it is, which is not counted: whether any does would
    take a pass over all variables before the first may move. Any other updates are those without
    the wrapper, up to how the compiler rounds.

    `optax.apply_if_finite` also holds the counters inside, so that a schedule would end late.

    Args:
      inner: chain with `clip_grad_norm`.

    >>> from mpjax.optim import clip_grad_norm
    >>> tx = skip_not_finite(optax.chain(clip_grad_norm(1.0), optax.sgd(1.0, momentum=0.9)))
    >>> state = tx.init({"w": jnp.zeros(2)})
    >>> updates, state = tx.update({"w": jnp.array([1.0, jnp.nan])}, state)
    >>> updates["w"].tolist(), int(state.skipped)
    ([0.0, 0.0], 1)
    """

    def init_fn(params):
        _check_dtypes(params)
        state = inner.init(params)
        if find_state(state, ClipState) is None:
            raise ValueError("skip_not_finite needs a chain with clip_grad_norm")
        return SkipState(jnp.zeros((), jnp.int32), state)

    def update_fn(updates, state, params=None):
        updates, inner_state = inner.update(updates, state.inner, params)
        clip = find_state(inner_state, ClipState)
        assert clip is not None, "checked by init"
        before = jax.tree.map(jnp.zeros_like, updates) if params is None else params

        def kept(update, value):
            return jnp.where(
                clip.finite & jnp.isfinite((value + update).astype(value.dtype)),
                update,
                jnp.zeros_like(update),
            )

        updates = jax.tree.map(kept, updates, before)
        skipped = jnp.where(clip.finite, state.skipped, state.skipped + 1)
        return updates, SkipState(skipped, inner_state)

    return optax.GradientTransformation(init_fn, update_fn)


def _check_dtypes(params: Any) -> None:
    """Raises `InputError` for float16: Adam's ε of 1e-8 is 0 there, and updates become infinite."""
    if any(jnp.result_type(leaf) == jnp.float16 for leaf in jax.tree.leaves(params)):
        raise InputError(
            "parameters or scores are float16, in which the ε of Adam is 0; keep them in float32 "
            "(or bfloat16), and compute in float16 by the dtype of the modules"
        )
