"""How many members of a sweep fit into memory, by arithmetic, before anything is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from mpjax.errors import InputError
from mpjax.sweep.population import member_bytes
from mpjax.training.job import Job


@dataclass(frozen=True)
class Placement:
    """Members that train together, and the devices they are laid over evenly."""

    members: int
    devices: list[Any]


def place_members(job: Job, members: int, devices: int | None, memory: float | None) -> Placement:
    """Where so many members train together: on the most devices that share them evenly.

    Args:
      devices: most devices to use. memory: bytes that may be used, all that are free unless given.

    Raises:
      InputError: they do not fit, with the arithmetic and the number that does.
    """
    found = jax.local_devices()
    for flag, value in (("--devices", devices), ("--members-at-once", members)):
        if value is not None and value < 1:
            raise InputError(f"{flag} is {value}; it must be at least 1")
    if devices is not None and devices > len(found):
        raise InputError(f"--devices is {devices}, but there are {len(found)}; lower it")
    state, work = member_bytes(job)
    each = state + work
    many = max(n for n in range(1, min(devices or len(found), members) + 1) if members % n == 0)
    used = found[:many]
    free = memory or _free(used)
    if members * each > free:
        fits = int(free // each)
        if fits >= many:  # a number that the devices do not share evenly would leave some unused
            fits -= fits % many
        remedy = (
            f"use --members-at-once {fits}, more devices, or --memory to say that there is more"
            if fits
            else "not one of them fits; use a smaller model, or --memory to say that there is more"
        )
        raise InputError(
            f"{members} members x ({_size(state)} state + {_size(work)} gradients and masked "
            f"weights) = {_size(members * each)}, activations not counted, but {_size(free)} of "
            f"memory are free on {many} device{'s' * (many > 1)}: {remedy}"
        )
    return Placement(members, used)


def _free(devices: list[Any]) -> float:
    """Bytes that are free on all the devices together; those of the host where it is the device."""
    free = []
    for device in devices:
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return _free_on_host()
        free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return min(free) * len(free)


def _free_on_host() -> float:
    """What Linux calls available; no limit where it does not say."""
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024.0 * int(kilobytes[0]) if kilobytes else float("inf")


def _size(of: float) -> str:
    return f"{of / 1e9:.3g} GB" if of >= 1e8 else f"{of / 1e6:.3g} MB"
