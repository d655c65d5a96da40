"""Largest entries of every short run, for N:M sparsity."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mpjax.pruning.explicit import inferred
from mpjax.pruning.topk.keys import ordered_keys


def largest_of_runs(
    values: Float[Array, " inputs *rest"], count: int | jax.Array, length: int
) -> Bool[Array, " inputs *rest"]:
    """Marks the ``count`` largest of every ``length`` consecutive entries along the first axis.

    The rank of an entry is the number of entries of its run that precede it: the larger ones, and
    equal ones of lower index. That takes length² comparisons per run, 16 for 2:4, all elementwise.

    Args:
      values: array whose first axis is a multiple of ``length``.
      count: entries kept per run.
      length: entries per run.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 5.0]])
    >>> largest_of_runs(x, 1, 2).tolist()
    [[True, True], [False, False], [False, False], [True, True]]
    """
    return inferred(_largest_of_runs, values)(values, count, length)


def _largest_of_runs(values: jax.Array, count: int | jax.Array, length: int) -> jax.Array:
    keys = ordered_keys(values)
    runs = keys.reshape(values.shape[0] // length, length, *values.shape[1:])
    members = [runs[:, i] for i in range(length)]
    marks = [
        sum(
            (other >= own if j < i else other > own).astype(jnp.int8)
            for j, other in enumerate(members)
            if j != i
        )
        < count
        for i, own in enumerate(members)
    ]
    return jnp.stack(marks, axis=1).reshape(values.shape)
