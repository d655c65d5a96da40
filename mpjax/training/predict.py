"""Applying a model to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from mpjax.pruning import Tree

Batch = Mapping[str, Any]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def apply_model(
    module: nn.Module, params: Tree, batch: Batch, dropout_key: jax.Array | None = None
) -> Float[Array, "batch ..."]:
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


def make_predict(module: nn.Module) -> Callable[[Tree, Batch], Float[Array, "batch ..."]]:
    """Compiles ``predict(params, batch)`` to float32 (or wider) logits, without dropout."""
    return jax.jit(lambda params, batch: apply_model(module, params, batch))
