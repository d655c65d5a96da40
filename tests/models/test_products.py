"""Half-precision dense layers: the result of JAX's own, and gradients of float32 sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.models import products
from mpjax.models.layers import Dense
from mpjax.models.products import half_dense

RNG = np.random.default_rng(0)


def example(rows, dtype):
    def array(*shape):
        return jnp.asarray(RNG.normal(size=shape), jnp.float32)

    x, slope = array(rows, 6).astype(dtype), array(rows, 5).astype(dtype)
    return x, array(6, 5), array(5), slope


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("rows", [1, 7, 48, 512, 816])
def test_result_is_that_of_jax_and_gradients_are_sums_in_float32(rows, dtype):
    x, kernel, bias, slope = example(rows, dtype)
    y, pull = jax.vjp(half_dense, x, kernel, bias)
    own, pull_own = jax.vjp(
        lambda x, k, b: x @ k.astype(dtype) + b.astype(dtype)[None], x, kernel, bias
    )
    np.testing.assert_array_equal(y, own)
    (dx, dkernel, dbias), (dx_own, _, _) = pull(slope), pull_own(slope)
    assert (dx.dtype, dkernel.dtype, dbias.dtype) == (dtype, jnp.float32, jnp.float32)
    np.testing.assert_array_equal(dx, dx_own)
    exact_x, exact_slope = np.asarray(x, np.float64), np.asarray(slope, np.float64)
    rounding = 1e-6 * rows
    np.testing.assert_allclose(dkernel, exact_x.T @ exact_slope, rtol=1e-5, atol=rounding)
    np.testing.assert_allclose(dbias, exact_slope.sum(0), rtol=1e-5, atol=rounding)


def test_gradients_have_the_dtype_of_the_parameters():
    x, kernel, bias, slope = example(32, jnp.bfloat16)
    kernel, bias = kernel.astype(jnp.bfloat16), bias.astype(jnp.bfloat16)
    gradients = jax.vjp(half_dense, x, kernel, bias)[1](slope)
    assert [g.dtype for g in gradients] == [jnp.bfloat16] * 3


def test_a_cpu_writes_the_transpose(monkeypatch):
    """Sums are equal alone and for members of a population; other platforms choose layouts."""
    x, kernel, bias, slope = example(64, jnp.bfloat16)

    def gradients(x, slope):
        return jax.vjp(half_dense, x, kernel, bias)[1](slope)

    def written(platform):
        lowered = jax.jit(gradients).trace(x, slope).lower(lowering_platforms=(platform,))
        return "LayoutConstraint" in lowered.as_text()

    assert written("cpu") and not written("tpu") and not written("cuda")
    one, members = jax.jit(gradients)(x, slope), jax.jit(jax.vmap(gradients))(x[None], slope[None])
    monkeypatch.setattr(products, "layout", None)  # a jax without it
    jax.clear_caches()
    without = jax.jit(gradients)(x, slope)
    assert not written("cpu")
    jax.clear_caches()
    for expected, *found in zip(one, without, members, strict=True):
        for gradient in found:
            found32 = np.asarray(gradient, np.float32).reshape(expected.shape)
            np.testing.assert_allclose(found32, np.float32(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("rows", "outputs"), [(0, 5), (32, 0)])
def test_empty_sums(rows, outputs):
    x, kernel, bias, slope = example(rows, jnp.bfloat16)
    arguments = x, kernel[:, :outputs], bias[:outputs]
    dx, dkernel, dbias = jax.vjp(half_dense, *arguments)[1](slope[:, :outputs])
    assert (dx.shape, dkernel.shape, dbias.shape) == ((rows, 6), (6, outputs), (outputs,))
    assert not any(g.any() for g in (dx, dkernel, dbias))


def test_used_in_half_precision_where_one_cpu_is_the_only_device(monkeypatch):
    def used(dtype):
        dense = Dense(4, 0.02, dtype)
        return "half_dense" in str(jax.make_jaxpr(dense.init)(jax.random.key(0), jnp.ones((2, 3))))

    assert not used(jnp.bfloat16)  # eight devices
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert used(jnp.bfloat16) and used(jnp.float16) and not used(jnp.float32)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not used(jnp.bfloat16)
