"""Agreement between processes that train together.

All processes must call these functions, in the same order. With one process nothing is sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mpjax.errors import InputError
from mpjax.parallel.sharding import replicated

_LATE_SECONDS = 60.0  # by which a network file system may be late
_PAGE = 4096  # texts are padded to multiples of it, so that few programs are compiled


def first() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return jax.process_index() == 0


def exchange(text: str) -> list[str]:
    """Texts of all processes, in process order."""
    if jax.process_count() == 1:
        return [text]
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(data))))
    page = np.zeros(-(-max(sizes) // _PAGE) * _PAGE, np.uint8)
    page[: len(data)] = data
    pages = multihost_utils.process_allgather(page)
    return [bytes(p[:size]).decode() for p, size in zip(pages, sizes, strict=True)]


def everywhere(value: bool) -> bool:
    """Whether `value` is true in every process."""
    return all(json.loads(text) for text in exchange(json.dumps(value)))


def from_first(make: Callable[[], Any]) -> Any:
    """Calls `make` in process 0 and gives its JSON value to every process."""
    if jax.process_count() == 1:
        return make()
    return json.loads(exchange(json.dumps(make() if first() else None))[0])


def check_same(values: Mapping[str, Any]) -> None:
    """Raises `InputError` in all processes if one has other JSON values than process 0."""
    start, *others = (json.loads(text) for text in exchange(json.dumps(dict(values))))
    for number, theirs in enumerate(others, 1):
        differing = [
            f"{k} {theirs.get(k)}, not {v}" for k, v in start.items() if theirs.get(k) != v
        ]
        if differing:
            raise InputError(
                f"process {number} differs from process 0: {'; '.join(differing)}. Give the same "
                "command, data and --output on every host"
            )


def check_visible(name: str, folder: Path, is_there: Callable[[], bool]) -> None:
    """Raises `InputError` if something written by process 0 does not appear here in time.

    Args:
      name: of it, for the message.
      folder: that it is in.
      is_there: whether it is seen.
    """
    until = time.monotonic() + _LATE_SECONDS
    while not is_there():
        if time.monotonic() > until:
            raise InputError(
                f"process {jax.process_index()} does not see {name}, which process 0 has in "
                f"{folder}; --output must be on a file system that all hosts share"
            )
        time.sleep(0.2)


class Agreement:
    """Maximum of a number over all processes, with one step of delay.

    The result of a step is read after the next one has been requested, so that the loop does not
    wait for the devices. A single process gets its own number at once.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._size, self._split = mesh.size, NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._largest = jax.jit(jnp.max, out_shardings=replicated(mesh))
        self._own: tuple[int, Any] | None = None
        self._asked: jax.Array | None = None

    def __call__(self, value: int) -> int:
        if jax.process_count() == 1:
            return value
        if self._own is None or self._own[0] != value:
            numbers = np.full(self._size, value, np.int32)
            shards = jax.make_array_from_callback(
                numbers.shape, self._split, lambda index: numbers[index]
            )
            self._own = value, shards
        before, self._asked = self._asked, self._largest(self._own[1])
        return 0 if before is None else int(before)
