# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Linear density: fraction of the prunable weights that is kept."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.trees import Tree, Where, flatten, select


def mask_density(masks: Tree) -> Float[Array, ""]:
    """Kept / all weights over every mask; a gate counts as kept if it is not zero.

    Args:
      masks: nested dict of boolean masks or gates, of the shapes of the kernels.

    >>> import jax.numpy as jnp
    >>> masks = {"a": jnp.array([True, False]), "b": jnp.array([0.0, 0.3])}
    >>> float(mask_density(masks))
    0.5
    """
    leaves: list[jax.Array] = jax.tree.leaves(masks)
    # Counts per matrix are exact in int32; a float32 sum of them is good to 1e-7, enough for a log.
    kept = jnp.stack([count_true(m != 0) for m in leaves]).astype(jnp.result_type(float))
    return jnp.sum(kept) / sum(mask.size for mask in leaves)


def linear_density(params: Tree, where: Where) -> float:
    """Non-zero / all entries of the kernels picked by ``where``, counted on the host.

    `mpjax.report.measure` has the counts per matrix, and the published count over all encoder
    parameters.

    >>> import numpy as np
    >>> linear_density({"a": {"kernel": np.array([[1.0, 0.0]]), "bias": np.ones(2)}}, r".*kernel")
    0.5
    """
    kernels = [np.asarray(leaf) for leaf in flatten(select(params, where)).values()]
    return sum(int(np.count_nonzero(k)) for k in kernels) / sum(k.size for k in kernels)
