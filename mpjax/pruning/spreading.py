# pyright: reportUnknownMemberType=false
# (jax.numpy leaves the type of `device` unknown.)
"""Arrays between the shapes of scores and of kernels, and between stacks and their layers.

Scores are broadcast over the kernels, so that differentiation sums the gradient of a score over the
weights it covers (Lagunas et al. 2021, arXiv 2109.04838, for blocks and for scores shared by
kernels). Rules see arrays of the shapes of the scores only, one for every layer of a stack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from mpjax.pruning.axes import Shape, from_matrices, to_matrices
from mpjax.pruning.granularities import Group, Member


def expand(group: Group, scores: jax.Array, member: Member) -> jax.Array:
    """Array like a kernel from one like its scores; no copy for one score per weight.

    In half precision it goes by way of float32: differentiated, the way back sums over the weights
    of a score, and such sums stagnate.
    """
    if group.per_weight:
        return scores
    floats = jnp.issubdtype(scores.dtype, jnp.floating)
    wide = scores.astype(jnp.promote_types(scores.dtype, jnp.float32)) if floats else scores
    whole = from_matrices(spread(wide, member.kernel.matrices, member.axis), member.kernel)
    return whole.astype(scores.dtype)


def mean_size(group: Group, kernels: Sequence[jax.Array]) -> jax.Array:
    """Mean |W| under each score; the kernel itself, with its signs, for one score per weight.

    A mean is in float32 or wider: in half precision sums overflow and different means tie.
    """
    if group.per_weight:
        return kernels[0]
    wide = jnp.result_type(jnp.float32, *kernels)
    sums = [
        gather(jnp.abs(to_matrices(w, m.kernel)).astype(wide), group.shape, m.axis)
        for w, m in zip(kernels, group.kernels, strict=True)
    ]
    return sum(sums[1:], start=sums[0]) / group.covers


def layers_of(group: Group, array: jax.Array) -> list[jax.Array]:
    """Matrices of a score array, as a cut ranks them; the array itself without a stack.

    Those of N:M are (inputs, outputs), whatever the order of the axes.
    """
    if group.runs is not None:
        kernel = group.kernels[0].kernel
        array = to_matrices(array, kernel)
        return [*array.reshape(-1, *array.shape[-2:])] if group.stack else [array]
    if not group.stack:
        return [array]
    moved = jnp.moveaxis(array, group.stack, range(len(group.stack)))
    return [*moved.reshape(group.layers, *moved.shape[len(group.stack) :])]


def of_layers(group: Group, matrices: Sequence[jax.Array]) -> jax.Array:
    """Inverse of :func:`layers_of`."""
    whole = jnp.stack(matrices) if group.stack else matrices[0]
    if group.runs is not None:
        kernel = group.kernels[0].kernel
        return from_matrices(whole.reshape(kernel.matrices), kernel)
    if not group.stack:
        return whole
    sizes = [group.shape[axis] for axis in group.stack]
    return jnp.moveaxis(
        whole.reshape(*sizes, *whole.shape[1:]), range(len(group.stack)), group.stack
    )


def layer_shape(group: Group) -> Shape:
    """Shape of each array of :func:`layers_of`."""
    if group.runs is not None:
        return group.kernels[0].kernel.matrices[-2:]
    return tuple(n for axis, n in enumerate(group.shape) if axis not in group.stack)


def _aligned(shape: Shape, axis: int | None) -> Shape:
    """Shape of scores with as many axes as the matrices of their kernel."""
    if axis is None:
        return shape
    return (*shape, 1) if axis == 0 else (*shape[:-1], 1, shape[-1])


def spread(scores: Shaped[Array, ...], shape: Shape, axis: int | None = None) -> Shaped[Array, ...]:
    """Scores repeated to the shape of matrices, each over its block or slice.

    Args:
      scores: array of any dtype.
      shape: of the matrices, (*stack, inputs, outputs).
      axis: 0 or 1, the inputs or outputs along which vectors of scores lie; None for scores with
        the axes of the matrices.

    >>> spread(jnp.array([[1, 2]]), (2, 4)).tolist()
    [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    aligned = _aligned(scores.shape, axis)
    if aligned == shape:
        return scores.reshape(shape)
    # (a, b) over (a·r, b·c) by way of (a, 1, b, 1) and (a, r, b, c): XLA fuses the broadcast into
    # the product with the kernel, so that no array of its size is written.
    split = [n for size in aligned for n in (size, 1)]
    whole = [n for size, full in zip(aligned, shape, strict=True) for n in (size, full // size)]
    return jnp.broadcast_to(scores.reshape(split), whole).reshape(shape)


def gather(matrices: jax.Array, shape: Shape, axis: int | None) -> jax.Array:
    """Sum over the block or slice of each score: the transpose of :func:`spread`."""
    aligned = _aligned(shape, axis)
    whole = [
        n for size, full in zip(aligned, matrices.shape, strict=True) for n in (size, full // size)
    ]
    sums = jnp.sum(matrices.reshape(whole), axis=tuple(range(1, len(whole), 2)))
    assert sums.size == math.prod(shape)
    return sums.reshape(shape)
