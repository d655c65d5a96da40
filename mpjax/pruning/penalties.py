"""Penalties on scores: the term R that λ multiplies in the loss."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mpjax.pruning.trees import Tree

# The hard-concrete distribution of Louizos et al. 2018: temperature b, stretched to (l, r).
TEMPERATURE = 2 / 3
LEFT, RIGHT = -0.1, 1.1


def mean_of_means(tree: Tree) -> jax.Array:
    """The mean over matrices of each matrix' own mean, so that large ones weigh no more.

    >>> import jax.numpy as jnp
    >>> float(mean_of_means({"a": jnp.array([0.0, 1.0]), "b": jnp.ones((3, 3))}))
    0.75
    """
    means = [jnp.mean(leaf) for leaf in jax.tree.leaves(tree)]
    return sum(means[1:], start=means[0]) / len(means)


def l1_penalty(scores: Tree) -> jax.Array:
    """R(S) = mean over matrices of mean σ(S), as in the published code; a scalar in (0, 1).

    >>> import jax.numpy as jnp
    >>> float(l1_penalty({"a": jnp.zeros((2, 2))}))
    0.5
    """
    return mean_of_means(jax.tree.map(jax.nn.sigmoid, scores))


def expected_l0_penalty(scores: Tree) -> jax.Array:
    """R(S) = mean over matrices of mean P(gate ≠ 0) = σ(S − b·ln(−l/r)); a scalar in (0, 1).

    >>> import jax.numpy as jnp
    >>> round(float(expected_l0_penalty({"a": jnp.zeros((2, 2))})), 4)
    0.8318
    """
    shift = TEMPERATURE * math.log(-LEFT / RIGHT)
    return mean_of_means(jax.tree.map(lambda s: jax.nn.sigmoid(s - shift), scores))


def no_penalty(scores: Tree) -> jax.Array:
    """Zero."""
    del scores
    return jnp.zeros((), jnp.result_type(float))


PENALTIES: dict[str, Callable[[Tree], jax.Array]] = {
    "none": no_penalty,
    "l1": l1_penalty,
    "l0": expected_l0_penalty,
}
