"""The device mesh of a run, checked against the devices and the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from mpjax.config.mesh import parse_mesh
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.log import log
from mpjax.parallel.sharding import make_mesh


def choose_mesh(config: TrainConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run: as asked for, or ``data`` over the most devices that divide the batch.

    Args:
      devices: to choose from; all of this process unless given.

    Raises:
      InputError: mesh sizes that do not match the devices, or do not divide the batch.
    """
    # The devices of a process stand together, so that its rows of a batch do.
    found = sorted(jax.devices() if devices is None else devices, key=lambda d: d.process_index)
    if config.devices is not None and config.devices > len(found):
        raise InputError(f"--devices is {config.devices}, but there are {len(found)}; lower it")
    wanted = config.devices or len(found)
    rows = config.batch_size // config.accumulate
    processes = len({device.process_index for device in found})
    if processes > 1:
        _check_processes(config, len(found), processes)
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
        fewer = product < len(found) and processes == 1 and devices is None
        less = f", or use --devices {product}" if fewer else ""
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


def _check_processes(config: TrainConfig, devices: int, processes: int) -> None:
    """Raises `InputError` for a mesh that leaves a process out or separates its rows."""
    if config.devices is not None and config.devices < devices:
        raise InputError(
            f"--devices is {config.devices}, but {processes} processes use all of their {devices} "
            "devices; leave it out"
        )
    if config.mesh is None and config.batch_size // config.accumulate % devices:
        raise InputError(
            f"{_batch(config)} does not split over the {devices} devices of all processes; use "
            f"a multiple of {devices * config.accumulate} as --batch-size"
        )
    own, tensor = devices // processes, parse_mesh(config.mesh or "data=1").get("tensor", 1)
    if own % tensor and tensor % own:
        raise InputError(
            f"--mesh {config.mesh}: tensor={tensor} does not go evenly into the {own} devices of a "
            "process; use a divisor or a multiple of it"
        )


def batch_parts(mesh: Mesh) -> int:
    """Number of batch shards."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def _batch(config: TrainConfig) -> str:
    accumulated = f" / --accumulate {config.accumulate}" if config.accumulate > 1 else ""
    return f"--batch-size {config.batch_size}{accumulated}"
