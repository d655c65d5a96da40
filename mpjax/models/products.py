"""Dense products of half-precision matrices, with gradients that one CPU computes at full rate."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

layout: Any
try:
    from jax.experimental import layout
except ImportError:  # experimental: without it the product is as exact, and slower on a CPU
    layout = None

_ROWS = 16  # added up at once; XLA:CPU splits sums of more than 32


def applies(dtype: DTypeLike) -> bool:
    """Whether `half_dense` is to be used: a half precision, and one CPU is the only device.

    Over several devices the sums of `_column_sums` would gather their rows, and so would a written
    transpose in some versions; explicit meshes and `jax.shard_map` take no gradients of their own.
    """
    alone = jax.device_count() == 1 and jax.default_backend() == "cpu"
    return alone and jnp.dtype(dtype).itemsize < jnp.dtype(jnp.float32).itemsize


@jax.custom_vjp
def half_dense(x: Array, kernel: Array, bias: Array) -> Array:
    """``x @ kernel + bias`` in the half precision of ``x``, with gradients for a single CPU device.

    JAX's own gradients of the parameters are rounded to half precision, and slow on a CPU, where
    these are sums in float32 (`_weight_gradient`, `_column_sums`). On other platforms they are
    JAX's own. Not for several devices, and without forward-mode derivatives: see `applies`.

    Args:
      x: (rows, in), bfloat16 or float16.
      kernel: (in, out), rounded to the dtype of ``x``.
      bias: (out,), likewise.

    Returns:
      (rows, out) in the dtype of ``x``.

    >>> x, w = jnp.ones((2, 3), jnp.bfloat16), jnp.full((3, 1), 0.5)
    >>> half_dense(x, w, jnp.ones(1)).tolist()
    [[2.5], [2.5]]
    """
    return _product(x, kernel.astype(x.dtype), bias)


def _product(x: Array, kernel: Array, bias: Array) -> Array:
    return x @ kernel + bias.astype(x.dtype)[None, :]


def _forward(x: Array, kernel: Array, bias: Array) -> tuple[Array, Any]:
    half = kernel.astype(x.dtype)
    like = jnp.zeros((0,), kernel.dtype)  # a residual holds no dtype but that of an array
    return _product(x, half, bias), (x, half, bias, like)


def _backward(residuals: Any, slope: Array) -> tuple[Array, Array, Array]:
    x, kernel, bias, like = residuals
    own = _weight_gradient(x, slope).astype(like.dtype)
    # Of a product with `kernel.T` XLA:CPU makes one in float32, without AMX.
    before = jax.lax.dot_general(slope, kernel, (((1,), (1,)), ((), ())))
    sums = jax.lax.platform_dependent(slope, cpu=_column_sums, default=_rounded_sums)
    return before, own, sums.astype(bias.dtype)


def _weight_gradient(x: Array, slope: Array) -> Array:
    """``x.T @ slope`` as float32.

    XLA:CPU multiplies bfloat16 matrices with AMX where the left one lies in memory row by row. A
    transpose it takes for a matrix that lies column by column; so it is made to be written. Other
    platforms, for which `mpjax plan` compiles on a CPU, choose layouts themselves.
    """

    def rounded(x: Array, slope: Array) -> Array:
        return (x.T @ slope).astype(jnp.float32)

    def written(x: Array, slope: Array) -> Array:
        turned = x.T
        if hasattr(layout, "with_layout_constraint"):
            turned = layout.with_layout_constraint(turned, layout.Layout(major_to_minor=(0, 1)))
        return jnp.matmul(turned, slope, preferred_element_type=jnp.float32)

    return jax.lax.platform_dependent(x, slope, cpu=written, default=rounded)


def _column_sums(slope: Array) -> Array:
    """Sums of the columns in float32.

    One sum over many rows XLA:CPU splits in two by windows, which it computes an element at a time.
    Sums of a few rows each, one after the other, it does not split.
    """
    sums = slope
    while sums.shape[0] > 0 and (rows := math.gcd(sums.shape[0], _ROWS)) > 1:
        sums = jnp.sum(
            sums.reshape(sums.shape[0] // rows, rows, sums.shape[1]), axis=1, dtype=jnp.float32
        )
    return jnp.sum(sums, axis=0, dtype=jnp.float32)


def _rounded_sums(slope: Array) -> Array:
    return jnp.sum(slope, axis=0).astype(jnp.float32)


half_dense.defvjp(_forward, _backward)
