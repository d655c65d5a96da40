"""Mesh sizes as text: ``data=4,fsdp=2``."""

from __future__ import annotations

from mpjax.config.train import TrainConfig
from mpjax.errors import InputError

AXES = ("data", "fsdp", "tensor")


def parse_mesh(text: str) -> dict[str, int]:
    """Axis sizes of `--mesh`.

    Raises:
      InputError: an unknown or repeated axis, or a size that is not a positive number.

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
    """Raises `InputError` for a `--mesh` or `--accumulate` that no set of devices could fit."""
    if config.batch_size % config.accumulate:
        raise InputError(
            f"--batch-size {config.batch_size} is no multiple of --accumulate "
            f"{config.accumulate}; change one of them"
        )
    if config.mesh is not None:
        parse_mesh(config.mesh)
