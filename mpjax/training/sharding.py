"""Device meshes and the named shardings of state and batch."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A one-dimensional mesh over ``data``, by default of every device.

    The axis is Auto: with explicit axes an embedding look-up with sharded ids does not trace.

    >>> dict(make_mesh(jax.devices()[:1]).shape)
    {'data': 1}
    """
    chosen = np.asarray(jax.devices() if devices is None else devices)
    return Mesh(chosen, (DATA,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split over ``data``; it must divide."""
    return NamedSharding(mesh, PartitionSpec(DATA))
