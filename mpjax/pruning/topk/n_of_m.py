"""The largest entries of every short run, for N:M sparsity."""

import jax
import jax.numpy as jnp

from mpjax.pruning.topk.keys import ordered_keys


def largest_of_runs(values: jax.Array, count: int | jax.Array, length: int) -> jax.Array:
    """Marks the ``count`` largest of every ``length`` consecutive entries along the first axis.

    Every entry counts those of its run that go before it: the larger ones, and the equal ones of
    lower index. That is length² comparisons per run, fewer than any selection for short runs.

    Args:
      values: float array whose first axis is a multiple of ``length``.
      count: how many to keep of a run.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [9.0, 5.0]])
    >>> largest_of_runs(x, 1, 2).tolist()
    [[True, True], [False, False], [False, False], [True, True]]
    """
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
