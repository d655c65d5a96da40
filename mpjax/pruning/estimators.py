"""Straight-through estimator: the forward pass of one array with the gradient of another."""

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped


@jax.custom_vjp
def _straight_through(relaxed: jax.Array, value: jax.Array) -> jax.Array:
    del relaxed
    return value


def _straight_through_fwd(relaxed: jax.Array, value: jax.Array) -> tuple[jax.Array, None]:
    del relaxed
    return value, None


def _straight_through_bwd(_: None, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cotangent, jnp.zeros_like(cotangent)  # pyright: ignore[reportUnknownMemberType]


_straight_through.defvjp(  # pyright: ignore[reportUnknownMemberType]
    _straight_through_fwd, _straight_through_bwd
)


def straight_through(
    relaxed: Float[Array, "*shape"], value: Shaped[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Returns ``value``; the gradient goes to ``relaxed`` unchanged and not to ``value``.

    With ``mask = straight_through(S, hard_mask)`` the product ``W * mask`` has the gradients of
    movement pruning (Sanh et al. 2020, eq. 2): ∂L/∂S = ∂L/∂(W∘M) ∘ W for every entry, masked ones
    included, and ∂L/∂W = ∂L/∂(W∘M) ∘ M.

    Args:
      relaxed: float array that receives the gradient.
      value: array of the same shape, cast to the dtype of ``relaxed``.

    >>> import jax, jax.numpy as jnp
    >>> weights, scores = jnp.array([2.0, 3.0]), jnp.array([-1.0, 1.0])
    >>> loss = lambda w, s: jnp.sum(w * straight_through(s, s > 0))
    >>> [g.tolist() for g in jax.grad(loss, argnums=(0, 1))(weights, scores)]
    [[0.0, 1.0], [2.0, 3.0]]
    """
    constant = jax.lax.stop_gradient(value.astype(relaxed.dtype))
    return cast(jax.Array, _straight_through(relaxed, constant))
