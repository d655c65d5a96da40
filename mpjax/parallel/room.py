"""Memory that is free on devices, or on the host that computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpjax import hostmemory


def free_bytes(devices: Sequence[Any]) -> int | None:
    """Free bytes on each of some devices of this process, the least of them; None if unknown.

    Devices that do not say it, such as CPUs, share the memory of the host.

    >>> import jax
    >>> free = free_bytes(jax.local_devices()[:1])
    >>> free is None or free > 0
    True
    """
    free = []
    for device in devices:
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            host = hostmemory.available()
            return None if host is None else host // len(devices)
        free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return min(free)
