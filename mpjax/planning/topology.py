"""Devices of a TPU slice to compile for, described by libtpu without any TPU."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import Any

from mpjax.errors import InputError
from mpjax.planning.chips import CHIPS, Chip

EXAMPLES = "v4:2x2x4, v5e:4x4, v5p:2x2x4, v6e:4x4"
HOST = 2  # chips per host along each of the first two axes
# libtpu queries the cloud metadata server for the machine type and locks the TPU for one process
# per host. Compiling uses no TPU, so both are switched off.
_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",  # any known type, else libtpu logs an error
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_LOG_DIR": "disabled",
}


def parse_topology(text: str) -> tuple[Chip, tuple[int, ...]]:
    """Chip and extents of a slice. Imports no jax.

    Raises:
      InputError: an unknown TPU generation, or extents that no slice of it has.

    >>> chip, extents = parse_topology("v5e:4x4")
    >>> chip.name, extents
    ('v5e', (4, 4))
    """
    name, _, sizes = text.strip().partition(":")
    if name not in CHIPS:
        raise InputError(f"--topology {text}: unknown TPU {name!r}; write for example {EXAMPLES}")
    chip = CHIPS[name]
    form = "x".join("NMK"[: chip.dimensions])
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", sizes):
        raise InputError(
            f"--topology {text}: {sizes!r} is no slice shape; write {name}:{form}, for example "
            f"{EXAMPLES}"
        )
    extents = tuple(int(n) for n in sizes.split("x"))
    if len(extents) != chip.dimensions:
        raise InputError(
            f"--topology {text}: a slice of {name} has {chip.dimensions} extents, {name}:{form}; "
            f"write for example {EXAMPLES}"
        )
    whole = all(n == 1 for n in extents) or all(n % HOST == 0 for n in extents[:HOST])
    if not whole:
        raise InputError(
            f"--topology {text}: hosts hold {HOST} x {HOST} chips, so the first two extents must "
            f"be even (or all of them 1, for one chip); write for example {EXAMPLES}"
        )
    return chip, extents


def topology_devices(text: str) -> list[Any]:
    """Devices of the slice, one per chip, to compile for; they run nothing.

    Raises:
      InputError: libtpu is not installed, or refuses the slice.
    """
    chip, extents = parse_topology(text)
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "mpjax plan compiles for TPUs with libtpu, which is not installed: "
            "pip install 'mpjax[tpu]'"
        )
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    options: dict[str, Any] = {"chip_config_name": chip.config} if chip.config else {}
    if extents.count(1) == len(extents):
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        found = topologies.get_topology_desc(text.strip(), "tpu", **options)
    except Exception as error:  # libtpu raises errors of several types
        raise InputError(
            f"--topology {text}: libtpu has no such slice ({str(error).splitlines()[0]}); write "
            f"for example {EXAMPLES}"
        ) from error
    return list(found.devices)
