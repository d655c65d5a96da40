"""Number of entries that a density keeps, exact where float32 is not."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32


class TracedDensity(NamedTuple):
    """Density whose final value is traced too, as in a sweep over densities.

    ``int(final * size)`` needs float64: 0.29 * 100 is 28.999999999999996 there and 29 in float32.
    The counts of a traced final density therefore come from the host.

    Attributes:
      value: current density, a scalar.
      final: density at the end of training, a scalar.
      final_counts: ``int(final * size)`` by size, int32 scalars.
    """

    value: Any
    final: Any
    final_counts: dict[int, Any]


Threshold = float | jax.Array | TracedDensity  # τ is never a TracedDensity


def num_kept(
    density: Threshold, size: int, *, final: float | None = None
) -> int | Int32[Array, ""]:
    """``int(density * size)``, the number of entries kept by a density.

    A Python float gives the exact integer. A traced density is multiplied in its own precision;
    equal to the final density (rounded to its dtype), it keeps the count of the Python float, so
    that float32 training ends on exactly the count asked for.

    Args:
      density: fraction to keep, in [0, 1].
      size: number of entries.
      final: final density, for a traced ``density``; a `TracedDensity` brings its own.

    >>> num_kept(0.03, 3200), num_kept(0.29, 100)
    (96, 28)
    >>> import jax.numpy as jnp
    >>> int(num_kept(jnp.float32(0.29), 100)), int(num_kept(jnp.float32(0.29), 100, final=0.29))
    (29, 28)
    """
    if isinstance(density, float | int):
        return int(density * size)
    if isinstance(density, TracedDensity):
        return jnp.where(
            is_final(density), density.final_counts[size], _product(density.value, size)
        )
    if final is None:
        return _product(density, size)
    return jnp.where(is_final(density, final), int(final * size), _product(density, size))


def is_final(density: Threshold, final: float | None = None) -> bool | Bool[Array, ""]:
    """Whether a density has reached its final value, in its own precision."""
    if isinstance(density, TracedDensity):
        value, last = density.value, density.final
    else:
        value, last = density, final
    return value == jnp.asarray(  # pyright: ignore[reportUnknownMemberType]
        last, jnp.result_type(value)
    )


def threshold_value(threshold: Threshold) -> float | jax.Array:
    """Current threshold, a scalar."""
    return threshold.value if isinstance(threshold, TracedDensity) else threshold


def _product(density: jax.Array, size: int) -> jax.Array:
    density = density.astype(jnp.promote_types(density.dtype, jnp.float32))
    return jnp.floor(density * size).astype(jnp.int32)
