"""Gradient accumulation over microbatches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mpjax.errors import InputError
from mpjax.training.losses import terms

# loss_fn(params, batch, key) -> (loss, logits)
LossFn = Callable[..., tuple[jax.Array, jax.Array]]


def value_and_grad(loss_fn: LossFn, parts: int = 1) -> Callable[..., Any]:
    """``jax.value_and_grad(loss_fn, has_aux=True)``, a microbatch at a time.

    The loss must be a mean over rows, or over the predicted tokens of (B, L) labels. Microbatches
    are weighted by their share of these, and have a dropout key each, so that loss, logits and
    gradient equal those of the whole batch.

    Args:
      loss_fn: of (params, batch, dropout key or None) to (loss, logits of leading axis B).
      parts: number of microbatches; it must divide the rows.

    Returns:
      A function of the same arguments to ``((loss, logits), grads)``.

    >>> def loss_fn(params, batch, key):
    ...     logits = params * batch["x"]
    ...     return jnp.mean(logits**2), logits
    >>> batch = {"x": jnp.arange(4.0)}
    >>> (loss, logits), slope = value_and_grad(loss_fn, parts=2)(jnp.float32(2.0), batch, None)
    >>> float(loss), logits.tolist(), float(slope)
    (14.0, [0.0, 2.0, 4.0, 6.0], 14.0)
    """
    whole = jax.value_and_grad(loss_fn, has_aux=True)
    if parts == 1:
        return whole

    def accumulated(params, batch, key):
        rows = next(iter(batch.values())).shape[0]
        if rows % parts:
            raise InputError(
                f"a batch of {rows} rows has no {parts} microbatches of equal size: {rows % parts} "
                "rows are left; choose a divisor of the rows"
            )
        # Microbatch i has rows i, i + parts, i + 2·parts, …, so that rows stay on their devices.
        micro = {
            name: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()
        }
        keys = None if key is None else jax.random.split(key, parts)
        counts = jax.vmap(terms)(micro)
        shares = counts / jnp.maximum(jnp.sum(counts), 1)

        def add(total, part):
            batch, key, share = part
            (loss, logits), slope = whole(params, batch, key)
            total = jax.tree.map(lambda t, g: t + share.astype(g.dtype) * g, total, slope)
            return total, (share * loss, logits)

        zeros = jax.tree.map(jnp.zeros_like, params)
        total, (losses, logits) = jax.lax.scan(add, zeros, (micro, keys, shares))
        logits = logits.swapaxes(0, 1).reshape(-1, *logits.shape[2:])
        return (jnp.sum(losses), logits), total

    return accumulated
