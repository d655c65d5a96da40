"""Placement of the members of a sweep on devices, with a check of memory before compilation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax

from mpjax.errors import InputError
from mpjax.log import log
from mpjax.parallel.room import free_bytes
from mpjax.training.job import Job
from mpjax.training.memory.announce import host_bytes, job_memory


@dataclass(frozen=True)
class Placement:
    """Placement of members on devices.

    Attributes:
      members: number of members that train together.
      devices: devices that share them evenly.
      memory: bytes of the host that a step of all of them takes beside their states.
    """

    members: int
    devices: list[Any]
    memory: int


def place_members(job: Job, members: int, devices: int | None, memory: float | None) -> Placement:
    """Placement of members on the most devices that share them evenly.

    Args:
      members: members that train together.
      devices: maximum number of devices.
      memory: bytes to use; all free memory unless given.

    Raises:
      InputError: they do not fit; shows the arithmetic and the number that fits.
    """
    found = jax.local_devices()
    for flag, value in (("--devices", devices), ("--members-at-once", members)):
        if value is not None and value < 1:
            raise InputError(f"{flag} is {value}; it must be at least 1")
    if memory is not None and memory <= 0:
        raise InputError(f"--memory is {memory / 1e9:g}; it must be above 0")
    if devices is not None and devices > len(found):
        raise InputError(f"--devices is {devices}, but there are {len(found)}; lower it")
    one = job_memory(job, job.optimizer(None))
    log.info("memory of a member: %s", one.sentence())
    each = one.state + one.gradients  # at least
    many = max(n for n in range(1, min(devices or len(found), members) + 1) if members % n == 0)
    used = found[:many]
    each_free = free_bytes(used)
    free = memory or (math.inf if each_free is None else each_free * len(used))
    if members * each > free:
        fits = int(free // each)
        if fits >= many:  # a multiple of the devices, so that none is unused
            fits -= fits % many
        remedy = (
            f"use --members-at-once {fits}, more devices, or --memory to say that there is more"
            if fits
            else "not one of them fits; use a smaller model, or --memory to say that there is more"
        )
        raise InputError(
            f"{members} members x ({_size(one.state)} state + {_size(one.gradients)} gradients) = "
            f"{_size(members * each)}, activations not counted, but {_size(free)} of memory are "
            f"free on {many} device{'s' * (many > 1)}: {remedy}"
        )
    if members * one.total > free:
        log.warning(
            "the step of %d members needs about %s, by arithmetic, and %s are free; it may run "
            "out of memory: lower --members-at-once or --batch-size, or give --accumulate",
            members, _size(members * one.total), _size(free),
        )  # fmt: skip
    return Placement(members, used, host_bytes(one, used, members // many))


def _size(of: float) -> str:
    return f"{of / 1e9:.3g} GB" if of >= 1e8 else f"{of / 1e6:.3g} MB"
