# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Penalties on scores: R(S), multiplied by λ in the loss."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mpjax.pruning.trees import Tree, map_leaves

# Hard-concrete distribution (Louizos et al. 2018, eq. 10): temperature b, stretched to (l, r), with
# the letters of Sanh et al. 2020.
TEMPERATURE = 2 / 3
LEFT, RIGHT = -0.1, 1.1


def mean_of_means(tree: Tree) -> Float[Array, ""]:
    """Mean over matrices of the mean of each, so that large matrices weigh no more than small ones.

    >>> import jax.numpy as jnp
    >>> float(mean_of_means({"a": jnp.array([0.0, 1.0]), "b": jnp.ones((3, 3))}))
    0.75
    """
    means = [jnp.mean(leaf) for leaf in jax.tree.leaves(tree)]
    return sum(means[1:], start=means[0]) / len(means)


def l1_penalty(scores: Tree) -> Float[Array, ""]:
    """R(S) = mean over matrices of mean σ(S), in (0, 1).

    The form of the published code; Sanh et al. 2020 (section 4) write R(S) = Σ σ(S).

    >>> import jax.numpy as jnp
    >>> float(l1_penalty({"a": jnp.zeros((2, 2))}))
    0.5
    """
    return mean_of_means(map_leaves(jax.nn.sigmoid, scores))


def expected_l0_penalty(scores: Tree) -> Float[Array, ""]:
    """R(S) = mean over matrices of mean P(gate ≠ 0) = σ(S − b·ln(−l/r)), in (0, 1).

    Louizos et al. 2018, eq. 12, as means where the paper has sums.

    >>> import jax.numpy as jnp
    >>> round(float(expected_l0_penalty({"a": jnp.zeros((2, 2))})), 4)
    0.8318
    """
    shift = TEMPERATURE * math.log(-LEFT / RIGHT)

    def open_probability(s: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(s - shift)

    return mean_of_means(map_leaves(open_probability, scores))


def no_penalty(scores: Tree) -> Float[Array, ""]:
    """Zero."""
    del scores
    return jnp.zeros((), jnp.result_type(float))


PENALTIES: dict[str, Callable[[Tree], jax.Array]] = {
    "none": no_penalty,
    "l1": l1_penalty,
    "l0": expected_l0_penalty,
}
