"""Leaf layers of an encoder: dense, norm, affine, embedding table.

Written out rather than taken from Linen for two details of speed and exactness: matrix products
on flattened tokens, and the two-pass variance.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mpjax.models import products


def wide(dtype: DTypeLike) -> Any:
    """float32 for the half precisions, the dtype itself otherwise: for sums and exponentials."""
    return jnp.promote_types(dtype, jnp.float32)


class Dense(nn.Module):
    """``x @ kernel + bias`` on the last axis: (..., in) to (..., features), in ``dtype``."""

    features: int
    std: float  # of the initial kernel
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.std), shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        # Two axes only. The gradient of a 3-D product contracts two axes at once, for which
        # XLA:CPU first transposes the whole incoming gradient in memory; for one axis it does not.
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(self.dtype)
        if products.applies(self.dtype):
            y = products.half_dense(flat, kernel, bias)
        else:
            y = flat @ kernel.astype(self.dtype) + bias.astype(self.dtype)[None, :]
        return y.reshape(*x.shape[:-1], self.features)


class Norm(nn.Module):
    """Layer norm of the last axis, computed in float32 or wider, returned in ``dtype``.

    The variance is the mean of squared deviations. E[x²] - E[x]², one pass cheaper, loses digits
    that PyTorch keeps.
    """

    epsilon: float
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = x.astype(wide(self.dtype))
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(centred).mean(axis=-1, keepdims=True)
        return _scaled(self, centred * jax.lax.rsqrt(variance + self.epsilon))


class Affine(nn.Module):
    """``x * scale + bias`` on the last axis, the norm of ``layer_norm_type: no_norm``.

    Computed in float32 or wider, returned in ``dtype``. Its parameters are named as in `Norm`.
    """

    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return _scaled(self, x.astype(wide(self.dtype)))


def _scaled(module: Norm | Affine, x: Array) -> Array:
    """``x * scale + bias`` with new parameters of a module, in its ``dtype``."""
    # Reshaped to the rank of x: implicit rank promotion may be set to raise.
    shape, ahead = x.shape[-1:], (1,) * (x.ndim - 1)
    scale = module.param("scale", nn.initializers.ones, shape, module.param_dtype)
    bias = module.param("bias", nn.initializers.zeros, shape, module.param_dtype)
    y = x * scale.astype(x.dtype).reshape(*ahead, -1) + bias.astype(x.dtype).reshape(*ahead, -1)
    return y.astype(module.dtype)


class Table(nn.Module):
    """Embedding table: integer ids (...) to vectors (..., features), in ``param_dtype``."""

    rows: int
    features: int
    std: float  # of the initial table
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, ids: Array) -> Array:
        init, shape = nn.initializers.normal(self.std), (self.rows, self.features)
        embedding = self.param("embedding", init, shape, self.param_dtype)
        # "fill" gives NaN for an id outside the table, where "clip" would give the last row.
        return jnp.take(embedding, ids, axis=0, mode="fill")
