"""Order-preserving unsigned integer keys of floats, for a search bit by bit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt


def ordered_keys(x: Float[Array, "*shape"]) -> UInt[Array, "*shape"]:
    """Unsigned integers in the order of the floats, with -0 equal to +0.

    IEEE 754 bits of positive floats are ordered as they are. Those of negative floats, read as
    unsigned, are above all positive ones and in reverse: both are mirrored at the key of zero.

    Args:
      x: array of float16, bfloat16, float32 or float64.

    Returns:
      uint32 for dtypes up to 32 bits, else uint64. Denormals keep their order; a NaN with a
      positive sign is above everything.

    >>> import jax.numpy as jnp
    >>> keys = ordered_keys(jnp.array([-1.0, -0.0, 0.0, 1e-45, 2.0]))
    >>> [int(k) - 2**31 for k in keys[1:4]]
    [0, 0, 1]
    >>> bool((keys[1:] >= keys[:-1]).all())
    True
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    unsigned = jnp.uint32 if x.dtype.itemsize == 4 else jnp.uint64
    bits, zero = jax.lax.bitcast_convert_type(x, unsigned), _key_of_zero(unsigned)
    return jnp.where(bits < zero, zero + bits, zero - (bits - zero))


def from_keys(keys: UInt[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Inverse of :func:`ordered_keys` for float32 and float64."""
    zero = _key_of_zero(keys.dtype)
    bits = jnp.where(keys >= zero, keys - zero, zero + (zero - keys))
    return jax.lax.bitcast_convert_type(bits, f"float{8 * keys.dtype.itemsize}")


def _key_of_zero(unsigned: Any) -> Any:
    """Highest bit alone: half of the keys are below, for negative floats."""
    return np.dtype(unsigned).type(1 << (8 * np.dtype(unsigned).itemsize - 1))
