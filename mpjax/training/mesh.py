"""The device mesh that a user asks for, checked against the devices and the batch.

Reading ``data=4,fsdp=2`` needs no jax, so that mistakes in it are found at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mpjax.errors import InputError
from mpjax.training.progress import log

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from mpjax.training.config import TrainConfig

AXES = ("data", "fsdp", "tensor")


def parse_mesh(text: str) -> dict[str, int]:
    """Sizes by axis from the words of `--mesh`.

    Raises:
      InputError: an axis that is unknown or named twice, or a size that is no positive number.

    >>> parse_mesh("data=4,fsdp=2")
    {'data': 4, 'fsdp': 2}
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        axis, _, size = (word.strip() for word in part.partition("="))
        if axis not in AXES:
            raise InputError(
                f"--mesh {text}: {axis or part!r} is no axis; write for example data=4,fsdp=2 with "
                f"axes from {', '.join(AXES)}"
            )
        if axis in sizes:
            raise InputError(f"--mesh {text}: {axis} is there twice; name every axis once")
        if not size.isdecimal() or int(size) < 1:
            raise InputError(
                f"--mesh {text}: the size of {axis} is {size!r}; it must be a whole number, 1 or "
                "more"
            )
        sizes[axis] = int(size)
    return sizes


def check_mesh(config: TrainConfig) -> None:
    """`InputError` for what is wrong with `--mesh` and `--accumulate` on any devices."""
    if config.batch_size % config.accumulate:
        raise InputError(
            f"--batch-size {config.batch_size} is no multiple of --accumulate "
            f"{config.accumulate}; change one of them"
        )
    if config.mesh is not None:
        parse_mesh(config.mesh)


def choose_mesh(config: TrainConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run: the one asked for, or ``data`` alone over as many devices as share evenly.

    Args:
      devices: to choose from, those of this process unless given.

    Raises:
      InputError: other sizes than there are devices, or a batch that the mesh does not split.
    """
    import jax

    from mpjax.training.sharding import make_mesh

    # The devices of a process stand together, so that its rows of a batch do.
    found = sorted(jax.devices() if devices is None else devices, key=lambda d: d.process_index)
    if config.devices is not None and config.devices > len(found):
        raise InputError(f"--devices is {config.devices}, but there are {len(found)}; lower it")
    wanted = config.devices or len(found)
    rows = config.batch_size // config.accumulate
    if jax.process_count() > 1:
        _check_processes(config, len(found))
    if config.mesh is None:
        used = max(n for n in range(1, wanted + 1) if rows % n == 0)
        if used < wanted:
            log.warning(
                "using %d of %d devices: %s does not split further",
                used, wanted, _batch(config),
            )  # fmt: skip
        return make_mesh({"data": used}, found[:used])
    sizes = parse_mesh(config.mesh)
    product = math.prod(sizes.values())
    if product != wanted:
        less = f", or use --devices {product}" if product < len(found) else ""
        raise InputError(
            f"--mesh {config.mesh} is a mesh of {product} devices, but there are {wanted}; change "
            f"its sizes until their product is {wanted}{less}"
        )
    parts = sizes.get("data", 1) * sizes.get("fsdp", 1)
    if rows % parts:
        raise InputError(
            f"{_batch(config)} does not split into the {parts} parts (data x fsdp) of --mesh "
            f"{config.mesh}; use a multiple of {parts * config.accumulate} as --batch-size, or "
            "move devices to tensor"
        )
    return make_mesh(sizes, found[:wanted])


def _check_processes(config: TrainConfig, devices: int) -> None:
    """`InputError` for a mesh that would leave a process out, or split its rows from each other."""
    import jax

    if config.devices is not None and config.devices < devices:
        raise InputError(
            f"--devices is {config.devices}, but {jax.process_count()} processes use all of their "
            f"{devices} devices; leave it out"
        )
    if config.mesh is None and config.batch_size // config.accumulate % devices:
        raise InputError(
            f"{_batch(config)} does not split over the {devices} devices of all processes; use "
            f"a multiple of {devices * config.accumulate} as --batch-size"
        )
    own, tensor = jax.local_device_count(), parse_mesh(config.mesh or "data=1").get("tensor", 1)
    if own % tensor and tensor % own:
        raise InputError(
            f"--mesh {config.mesh}: tensor={tensor} does not go evenly into the {own} devices of a "
            "process; use a divisor or a multiple of it"
        )


def batch_parts(mesh: Mesh) -> int:
    """In how many parts a batch is split."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def _batch(config: TrainConfig) -> str:
    accumulated = f" / --accumulate {config.accumulate}" if config.accumulate > 1 else ""
    return f"--batch-size {config.batch_size}{accumulated}"
