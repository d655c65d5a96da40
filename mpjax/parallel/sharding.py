"""Shardings: logical axes by parameter path, mesh axes by logical axis.

A mesh has three axes. The batch is split over ``data`` and ``fsdp``; parameters, scores and
optimiser state over ``fsdp`` (gathered where they are used) and ``tensor`` (used where they are).
Scores and their optimiser state are split over ``data`` too (ZeRO, Rajbhandari et al. 2020, arXiv
1910.02054): every device selects among and updates its shard, and gathers the marks of the rest.
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
from mpjax.pruning.topk.counting import GROUP

# The end of a path -> the logical axis of every dimension of the leaf. The first match counts.
LOGICAL_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"attention/(query|key|value)/kernel", ("embed", "heads")),
    (r"attention/(query|key|value)/bias", ("heads",)),
    (r"attention/output/kernel", ("heads", "embed")),
    (r"ffn/in/kernel", ("embed", "mlp")),
    (r"ffn/in/bias", ("mlp",)),
    (r"ffn/out/kernel", ("mlp", "embed")),
    # Not split over fsdp: a look-up in a split table moves activations or the table, which is
    # larger than all that a layer gathers; frozen, it has no optimiser state to split either.
    (r"embeddings/\w+/embedding", ("vocab", None)),
    (r"kernel", ("embed", None)),  # classifiers, pooler, and the matrices of other models
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
    """Sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of the leading axis over ``data`` and ``fsdp``, which must divide it."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def partition_spec(path: str, shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """Partition of the leaf at a ``/``-joined path; dimensions that do not divide stay whole.

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
    """Sharding of every leaf of a state, of parameters, or of any tree with their paths.

    Scores and optimiser moments repeat the paths of their parameters, so they are split alike and
    an update moves nothing; see `over_data` for scores. Leaves without such a path, as counters and
    keys, are replicated.

    Args:
      tree: arrays or ``jax.ShapeDtypeStruct``.

    >>> mesh = jax.sharding.AbstractMesh((2, 2, 2), AXES)
    >>> made = shardings({"params": {"head": {"kernel": np.ones((4, 3))}}, "step": 0}, mesh)
    >>> tuple(made["params"]["head"]["kernel"].spec), tuple(made["step"].spec)
    (('fsdp', None), ())
    """

    def place(key_path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [str(key.key) for key in key_path if isinstance(key, jax.tree_util.DictKey)]
        shape = np.shape(leaf)
        spec = partition_spec("/".join(names), shape, mesh)
        if _is_score(key_path):
            spec = over_data(spec, shape, mesh)
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(place, tree)


def _is_score(key_path: tuple[Any, ...]) -> bool:
    """Whether a leaf is a score or a moment of one: inside a collection ``scores``."""
    return any("scores" in (getattr(k, "key", ""), getattr(k, "name", "")) for k in key_path)


def over_data(spec: PartitionSpec, shape: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """Partition of a matrix with ``data`` beside its other axes, on the first axis that it fits.

    Shards have a multiple of `GROUP` rows, so that a count never straddles two of them.

    >>> mesh = jax.sharding.AbstractMesh((4, 2, 1), AXES)
    >>> tuple(over_data(PartitionSpec("fsdp", None), (128, 24), mesh))
    (('fsdp', 'data'), None)
    >>> tuple(over_data(PartitionSpec("fsdp", None), (64, 24), mesh))
    ('fsdp', 'data')
    """
    if mesh.shape["data"] == 1 or len(shape) < 2:
        return spec
    places = [*spec, *[None] * (len(shape) - len(spec))]
    for axis, (size, own) in enumerate(zip(shape, places, strict=True)):
        parts = mesh.shape["data"] * (mesh.shape[own] if own else 1)
        if size % (parts * (1 if axis == len(shape) - 1 else GROUP)) == 0:
            places[axis] = (own, "data") if own else "data"
            return PartitionSpec(*places)
    return spec


def constrain(tree: Any, mesh: Mesh) -> Any:
    """Arrays of a traced function with the sharding of their paths; see `shardings`."""
    return jax.lax.with_sharding_constraint(tree, shardings(tree, mesh))


def gather(params: Any, mesh: Mesh, dtype: DTypeLike | None) -> Any:
    """All-gathers parameters along ``fsdp``; they stay split along ``tensor``.

    Kernels are cast to ``dtype`` on their shards, before the gather, which halves its bytes in
    bfloat16; their gradients are reduce-scattered back to shards.
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
    x = jax.lax.with_sharding_constraint(x, shards)  # keeps the cast before the gather
    return jax.lax.with_sharding_constraint(x, used)


def _gather_fwd(x, shards, used):
    return _gather(x, shards, used), None


def _gather_bwd(shards, used, _, cotangent):
    del used
    return (jax.lax.with_sharding_constraint(cotangent, shards),)


_gather.defvjp(_gather_fwd, _gather_bwd)


def place(tree: Any, mesh: Mesh) -> Any:
    """Host arrays on the devices, each receiving its own shards only."""
    return put(tree, shardings(tree, mesh))


def put(tree: Any, shardings: Any) -> Any:
    """`device_put` to given shardings; with several processes, each uploads only its shards."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def shards(leaf: Any, sharding: NamedSharding) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(shards, tree, shardings)


def own_rows(mesh: Mesh, rows: int) -> slice:
    """Rows of a batch that the devices of this process compute.

    >>> own_rows(make_mesh(), 16)
    slice(0, 16, None)
    """
    indices: Any = batch_sharding(mesh).addressable_devices_indices_map((rows,))
    ends = [index[0].indices(rows) for index in indices.values()]
    return slice(min(start for start, _, _ in ends), max(stop for _, stop, _ in ends))


def place_batch(batch: Mapping[str, Any], mesh: Mesh) -> Any:
    """Batch split over ``data`` and ``fsdp``, assembled from the `own_rows` of each process."""
    return jax.make_array_from_process_local_data(batch_sharding(mesh), batch)


def fetch(array: jax.Array) -> np.ndarray:
    """Whole array on the host; with several processes, all must call."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
