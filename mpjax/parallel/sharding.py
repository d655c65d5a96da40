"""Where every array of a run lives: logical axes by parameter path, mesh axes by logical axis.

A mesh has three axes. The batch is split over ``data`` and ``fsdp``; parameters, scores and
optimiser state over ``fsdp`` (gathered where they are used) and ``tensor`` (used where they are).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from mpjax.config.mesh import AXES

# The end of a path -> the logical axis of every dimension of the leaf. The first match counts.
LOGICAL_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"attention/(query|key|value)/kernel", ("embed", "heads")),
    (r"attention/(query|key|value)/bias", ("heads",)),
    (r"attention/output/kernel", ("heads", "embed")),
    (r"ffn/in/kernel", ("embed", "mlp")),
    (r"ffn/in/bias", ("mlp",)),
    (r"ffn/out/kernel", ("mlp", "embed")),
    # Whole along fsdp: a look-up in a split table moves activations or the table, which is larger
    # than all that a layer gathers, and without --train-embeddings has no optimiser state to split.
    (r"embeddings/\w+/embedding", ("vocab", None)),
    (r"kernel", ("embed", None)),  # heads and pooler, and the matrices of other models
)
MESH_AXES = {"embed": "fsdp", "heads": "tensor", "mlp": "tensor", "vocab": "tensor"}


def make_mesh(shape: Mapping[str, int] | None = None, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over ``data``, ``fsdp`` and ``tensor``, by default of every device along ``data``.

    The axes are Auto: with explicit axes an embedding look-up with sharded ids does not trace.

    >>> dict(make_mesh({"data": 1}, jax.devices()[:1]).shape)
    {'data': 1, 'fsdp': 1, 'tensor': 1}
    """
    chosen = jax.devices() if devices is None else devices
    sizes = {"data": len(chosen)} if shape is None else shape
    grid = np.asarray(chosen).reshape([sizes.get(axis, 1) for axis in AXES])
    return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split over ``data`` and ``fsdp``; it must divide."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def partition_spec(path: str, shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """How the leaf at a ``/``-joined path is split; a dimension that does not divide is not.

    >>> mesh = jax.sharding.AbstractMesh((1, 4, 2), AXES)
    >>> tuple(partition_spec("encoder/layer_0/ffn/in/kernel", (8, 24), mesh))
    ('fsdp', 'tensor')
    >>> tuple(partition_spec("encoder/layer_0/ffn/in/kernel", (6, 24), mesh))
    (None, 'tensor')
    """
    for pattern, axes in LOGICAL_AXES:
        if len(axes) == len(shape) and re.fullmatch(rf"(.*/)?{pattern}", path):
            places = [MESH_AXES.get(axis or "") for axis in axes]
            fits = [
                place if place and size % mesh.shape[place] == 0 else None
                for place, size in zip(places, shape, strict=True)
            ]
            return PartitionSpec(*fits)
    return PartitionSpec()


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of a state, of parameters, or of anything that has their paths.

    Scores and the moments of an optimiser repeat the paths of the parameters they belong to, so
    they are split alike and an update moves nothing. What has no such path, as counters and keys,
    is on every device.

    Args:
      tree: arrays or ``jax.ShapeDtypeStruct``.

    >>> mesh = jax.sharding.AbstractMesh((2, 2, 2), AXES)
    >>> made = shardings({"params": {"head": {"kernel": np.ones((4, 3))}}, "step": 0}, mesh)
    >>> tuple(made["params"]["head"]["kernel"].spec), tuple(made["step"].spec)
    (('fsdp', None), ())
    """

    def place(key_path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [str(key.key) for key in key_path if isinstance(key, jax.tree_util.DictKey)]
        return NamedSharding(mesh, partition_spec("/".join(names), np.shape(leaf), mesh))

    return jax.tree_util.tree_map_with_path(place, tree)


def gather(params: Any, mesh: Mesh, dtype: DTypeLike | None) -> Any:
    """Parameters as the layers use them: whole along ``fsdp``, still split along ``tensor``.

    Kernels are cast to ``dtype`` on their shards, before they are gathered; a gradient comes back
    summed and in shards.
    """

    if mesh.shape["fsdp"] == 1:
        return params

    def whole(key_path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        path = "/".join(str(key.key) for key in key_path)
        spec = partition_spec(path, leaf.shape, mesh)
        if "fsdp" not in spec or not path.endswith("kernel"):
            return leaf
        shards = NamedSharding(mesh, spec)
        used = NamedSharding(mesh, PartitionSpec(*(a if a != "fsdp" else None for a in spec)))
        return _gather(leaf.astype(dtype or leaf.dtype), shards, used)

    return jax.tree_util.tree_map_with_path(whole, params)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _gather(x: jax.Array, shards: NamedSharding, used: NamedSharding) -> jax.Array:
    x = jax.lax.with_sharding_constraint(x, shards)  # else the cast may move behind the gather
    return jax.lax.with_sharding_constraint(x, used)


def _gather_fwd(x, shards, used):
    return _gather(x, shards, used), None


def _gather_bwd(shards, used, _, cotangent):
    del used
    return (jax.lax.with_sharding_constraint(cotangent, shards),)


_gather.defvjp(_gather_fwd, _gather_bwd)


def place(tree: Any, mesh: Mesh) -> Any:
    """Arrays of the host, each device receiving its own shards only."""
    return put(tree, shardings(tree, mesh))


def put(tree: Any, shardings: Any) -> Any:
    """The same with shardings at hand; every process has all of the arrays and reads its shards."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def shards(leaf: Any, sharding: NamedSharding) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(shards, tree, shardings)


def own_rows(mesh: Mesh, rows: int) -> slice:
    """Which of the rows of a batch the devices of this process compute with.

    >>> own_rows(make_mesh(), 16)
    slice(0, 16, None)
    """
    indices: Any = batch_sharding(mesh).addressable_devices_indices_map((rows,))
    ends = [index[0].indices(rows) for index in indices.values()]
    return slice(min(start for start, _, _ in ends), max(stop for _, stop, _ in ends))


def place_batch(batch: Mapping[str, Any], mesh: Mesh) -> Any:
    """A batch split over ``data`` and ``fsdp``, of the `own_rows` that each process has of it."""
    return jax.make_array_from_process_local_data(batch_sharding(mesh), batch)


def fetch(array: jax.Array) -> np.ndarray:
    """All of an array on the host; processes that share it must call together."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
