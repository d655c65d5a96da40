"""Updates that are not finite are skipped, so that a train state holds no infinity and no NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mpjax.optim.transforms import ClipState, find_state


class SkipState(NamedTuple):
    """State of `skip_not_finite`: updates skipped so far."""

    skipped: jax.Array  # shape=(), dtype=int32: updates skipped so far
    inner: Any


def skip_not_finite(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps an optimiser that clips: gradients or variables that are not finite move nothing.

    `clip_grad_norm` makes such gradients zero, so that the moments after it decay and stay finite;
    here the updates become zero, too, and are counted. So are updates of finite gradients that
    would make a variable infinite, as of a learning rate that is far too high. A schedule in the
    chain goes on. Any other updates are those without the wrapper, up to how the compiler rounds.

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
        state = inner.init(params)
        if find_state(state, ClipState) is None:
            raise ValueError("skip_not_finite needs a chain with clip_grad_norm")
        return SkipState(jnp.zeros((), jnp.int32), state)

    def update_fn(updates, state, params=None):
        updates, inner_state = inner.update(updates, state.inner, params)
        clip = find_state(inner_state, ClipState)
        assert clip is not None, "checked by init"
        moved = updates if params is None else jax.tree.map(jnp.add, params, updates)
        ok = clip.finite & all_finite(moved)
        updates = jax.tree.map(lambda u: jnp.where(ok, u, jnp.zeros_like(u)), updates)
        return updates, SkipState(jnp.where(ok, state.skipped, state.skipped + 1), inner_state)

    return optax.GradientTransformation(init_fn, update_fn)


def all_finite(tree: Any) -> jax.Array:
    """Whether all numbers of a tree are finite, a truth value; whole numbers are.

    >>> bool(all_finite({"a": jnp.ones(2), "b": jnp.array([1, 2])})), bool(all_finite([jnp.inf]))
    (True, False)
    """
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.ones((), bool), *(jnp.isfinite(leaf).all() for leaf in floats)]).all()
