"""Fractions of the weights that remain, in the two ways people count them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpjax.pruning.topk.counting import count_true
from mpjax.pruning.trees import Tree, Where, flatten, select


def mask_density(masks: Tree) -> jax.Array:
    """Kept / all weights over every mask, a scalar; a gate counts as kept if it is not zero.

    Args:
      masks: nested dict of boolean masks or gates, of the shapes of the kernels.

    >>> import jax.numpy as jnp
    >>> masks = {"a": jnp.array([True, False]), "b": jnp.array([0.0, 0.3])}
    >>> float(mask_density(masks))
    0.5
    """
    leaves = jax.tree.leaves(masks)
    # Per-matrix counts are exact in int32; their float32 sum is good to 1e-7, enough for a log.
    kept = jnp.stack([count_true(m != 0) for m in leaves]).astype(jnp.result_type(float))
    return jnp.sum(kept) / sum(mask.size for mask in leaves)


def linear_density(params: Tree, where: Where) -> dict[str, tuple[int, int]]:
    """(non-zero, all) entries of every matrix that ``where`` picks, by path, on the host.

    >>> import numpy as np
    >>> linear_density({"a": {"kernel": np.array([[1.0, 0.0]])}}, r".*kernel")
    {'a/kernel': (1, 2)}
    """
    return {
        path: (int(np.count_nonzero(np.asarray(leaf))), int(np.size(leaf)))
        for path, leaf in flatten(select(params, where)).items()
    }


def overall(counts: Mapping[str, tuple[int, int]]) -> float:
    """Kept / all over every matrix of :func:`linear_density`, in [0, 1].

    >>> overall({"a": (1, 2), "b": (0, 2)})
    0.25
    """
    return sum(kept for kept, _ in counts.values()) / sum(size for _, size in counts.values())


def encoder_remaining(params: Tree, where: Where, encoder: Where = r".*/encoder/.*") -> float:
    """The published count: what remains of *all* encoder parameters, biases and norms included.

    About 0.1 points above the linear density in BERT-base. Returns a fraction in [0, 1].

    >>> import numpy as np
    >>> layer = {"kernel": np.array([[1.0, 0.0]]), "bias": np.zeros(2)}
    >>> encoder_remaining({"bert": {"encoder": {"l": layer}}}, r".*kernel")
    0.75
    """
    everything: dict[str, Any] = flatten(select(params, encoder))
    counts = linear_density(params, where)
    size = sum(int(np.size(leaf)) for leaf in everything.values())
    return (size - sum(n - kept for kept, n in counts.values())) / size
