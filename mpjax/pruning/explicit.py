# pyright: reportUnknownMemberType=false
# (jax.tree leaves the type of a tree definition unknown.)
"""Selections on explicit meshes, where arrays carry their shardings in their types.

On axes of type Explicit, the default of `jax.make_mesh`, jax refuses a reshape or a stack whose
sharding it cannot tell. Here such axes are automatic for the length of a function: the compiler
splits its work as it does on an automatic mesh, and the results get shardings by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def inferred(function: Callable[..., Any], like: Any = None) -> Callable[..., Any]:
    """``function`` with explicit mesh axes made automatic while it runs.

    Nothing changes where no array has an explicit axis. What is no jax array, a Python float for
    instance, reaches the function as it is.

    Args:
      function: of trees of arrays, to a tree of arrays.
      like: arrays whose shardings the results take, in the structure of the result or a prefix of
        it; a `PartitionSpec` stands for itself. None = every device holds the results whole.

    >>> import jax.numpy as jnp
    >>> float(inferred(jnp.sum)(jnp.ones(3)))
    3.0
    """

    def call(*args: Any) -> Any:
        leaves, treedef = cast(tuple[list[Any], Any], jax.tree.flatten(args))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]
        mesh = _explicit_mesh([leaves[i] for i in places])
        if mesh is None:
            return function(*args)

        def on_arrays(*arrays: jax.Array) -> Any:
            replaced = dict(zip(places, arrays, strict=True))
            return function(*treedef.unflatten([replaced.get(i, x) for i, x in enumerate(leaves)]))

        kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
        axes = tuple(name for name, kind in kinds if kind == AxisType.Explicit)

        def place(x: Any) -> NamedSharding:
            return NamedSharding(mesh, _spec(x))

        out = jax.tree.map(place, PartitionSpec() if like is None else like)
        auto_axes = cast(Any, jax.sharding.auto_axes)
        return auto_axes(on_arrays, axes=axes, out_sharding=out)(*(leaves[i] for i in places))

    return call


def _explicit_mesh(arrays: list[jax.Array]) -> Any:
    """Mesh of the first array with an explicit axis; None without one.

    While a function is traced it is an abstract mesh; outside of `jax.jit` it has the devices, on
    which an array made from nothing is put.
    """
    for array in arrays:
        mesh = jax.typeof(array).sharding.mesh
        if AxisType.Explicit in mesh.axis_types:
            return mesh if isinstance(array, Tracer) else getattr(array.sharding, "mesh", mesh)
    return None


def _spec(like: Any) -> PartitionSpec:
    return like if isinstance(like, PartitionSpec) else jax.typeof(like).sharding.spec
