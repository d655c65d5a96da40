"""Dropout by a hash of every entry's position, which costs next to nothing.

The bits of `jax.random` pass twenty rounds for each pair of words and are nearly all of the cost of
dropout on a CPU. Dropout needs much less than they give: marks that look independent, other ones
for every key.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax


def dropout(key: Array, x: Array, rate: float) -> Array:
    """Zeroes a share ``rate`` of the entries of ``x`` and scales up the rest to keep the mean.

    32 bits resolve the rate; the scale is that of the rounded rate.

    >>> y = dropout(jax.random.key(0), jnp.ones((100, 100)), 0.1)
    >>> round(float((y == 0).mean()), 2), round(float(y.max()), 4)
    (0.1, 1.1111)
    """
    kept = min(max(round((1.0 - rate) * 2**32), 1), 2**32 - 1)
    marks = hashed_bits(key, x.shape) < jnp.uint32(kept)
    return jnp.where(marks, x * (2**32 / kept), jnp.zeros((), x.dtype))


def hashed_bits(key: Array, shape: tuple[int, ...]) -> Array:
    """Words of 32 bits, uint32 of a shape: a hash of the key and of every entry's index.

    They depend on nothing else, so shards of an array get the words of the whole one. Indices
    count modulo 2³².
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    index, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):
        steps = lax.broadcasted_iota(jnp.uint32, shape, axis)
        index += steps * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return _mix(_mix(index ^ first) + second)


def _mix(word: Array) -> Array:
    """A bijection of 32-bit words that mixes their bits.

    Shifts and factors were found by Wellons' hash-prospector (2018) to have the least bias among
    hashes of their length.
    """
    word ^= word >> 16
    word *= jnp.uint32(0x21F0AAAD)
    word ^= word >> 15
    word *= jnp.uint32(0x735A2D97)
    return word ^ (word >> 15)
