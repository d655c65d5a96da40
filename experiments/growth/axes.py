"""Points of each axis, and how they are measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import data
from experiments.bench.programs import SIZES, build
from experiments.bench.timing import seconds
from mpjax.errors import InputError
from mpjax.hostmemory import available, keep_freed_memory
from mpjax.models import BertConfig
from mpjax.parallel.sharding import make_mesh
from mpjax.planning.memory import read_memory
from mpjax.pruning import top_k_masks

RULE = "movement"
SHORT = 3  # exit status of a process for which memory is short
ENCODED = 128  # tokens of a row of a data set


@dataclass(frozen=True)
class Axis:
    """Axis of growth.

    Attributes:
      points: where it is measured.
      measure: rows of numbers from (points, rounds): ``at``, ``seconds``, ``beside`` and ``bytes``.
      seconds, beside: description of the two times.
    """

    points: tuple[float, ...]
    measure: Callable[[Iterable[Any], int], Iterator[dict[str, float]]]
    seconds: str
    beside: str


def measured(axis: str, points: Iterable[float], rounds: int) -> None:
    """Measures an axis in this process, and prints its points as lines of JSON.

    One for which memory is short ends the process with a message and status `SHORT`.
    """
    keep_freed_memory()
    try:
        for row in AXES[axis].measure(points, rounds):
            print(json.dumps(row), flush=True)
    except InputError as error:
        print(f"{axis}: {error}", file=sys.stderr)
        sys.exit(SHORT)


def _models(points: Iterable[float], rounds: int) -> Iterator[dict[str, float]]:
    """Steps of 8 x 128; a point is the millions of weights that the rule prunes."""
    for millions in points:
        yield {"at": millions, **_beside_dense(_SIZES[millions], 8, 128, rounds)}


def _lengths(points: Iterable[int], rounds: int) -> Iterator[dict[str, float]]:
    for length in points:
        yield {"at": length, **_beside_dense(SIZES["small"], 8, length, rounds)}


def _batches(points: Iterable[int], rounds: int) -> Iterator[dict[str, float]]:
    for rows in points:
        yield {"at": rows, **_beside_dense(SIZES["small"], rows, 128, rounds)}


def _entries(points: Iterable[int], rounds: int) -> Iterator[dict[str, float]]:
    """Top 10% of the entries of one array, beside one comparison of all of them."""
    for size in points:
        count = size // 10
        select = jax.jit(lambda x, count=count: top_k_masks([x], [count])[0])
        select = _compiled(select, jax.ShapeDtypeStruct((size,), jnp.float32))
        # Drawn by NumPy: a random array of JAX takes twice its size while it is made.
        array = jnp.asarray(np.random.default_rng(0).standard_normal(size, np.float32))
        compare = jax.jit(lambda x: x >= 0.5)
        times = _alternate(partial(select, array), partial(compare, array), rounds)
        yield {"at": size, **times, "bytes": read_memory(select).total}


def _members(points: Iterable[int], rounds: int) -> Iterator[dict[str, float]]:
    """Step of that many runs at once, beside as many steps of one."""
    for members in points:

        def stack(tree: Any, members: int = members) -> Any:
            return jax.tree.map(lambda x: jnp.stack([x] * members), tree)

        step, state, batch = build(RULE, SIZES["tiny"], 16, 32)
        together = jax.jit(jax.vmap(step), donate_argnums=0)
        many = _Moving(together, stack(state), stack(batch))
        one = _Moving(step, state, batch)
        times = _alternate(many, one, rounds)
        yield {"at": members, **times, "beside": members * times["beside"], "bytes": many.bytes}


def _devices(points: Iterable[int], rounds: int) -> Iterator[dict[str, float]]:
    """Step of one batch split over devices, beside that on one."""
    alone = _Moving(*build(RULE, SIZES["small"], 16, 64))
    for devices in points:
        mesh = make_mesh({"data": devices}, jax.devices()[:devices])
        split = _Moving(*build(RULE, SIZES["small"], 16, 64, mesh=mesh))
        yield {"at": devices, **_alternate(split, alone, rounds), "bytes": split.bytes}


def _rows(points: Iterable[int], rounds: int) -> Iterator[dict[str, float]]:
    """Reading and tokenising of sentences, once, beside opening what is encoded."""
    del rounds
    for rows in points:
        found = data.in_own_process(rows, ENCODED, mapped=True)
        yield {
            "at": rows,
            "seconds": found["read_s"] + found["encode_s"],
            "beside": found["open_s"],
            "bytes": 1e6 * max(found["rows_mb"], found["encode_mb"]),
        }


def _beside_dense(config: BertConfig, rows: int, length: int, rounds: int) -> dict[str, float]:
    """Pruned step beside the dense one."""
    pruned, dense = (_Moving(*build(kind, config, rows, length)) for kind in (RULE, "dense"))
    return {**_alternate(pruned, dense, rounds), "bytes": pruned.bytes}


class _Moving:
    """A compiled step with the state that it moves on, run once.

    Its temporaries stay with the process after that (`keep_freed_memory`), so that the program that
    is compiled next is held against what is left.
    """

    def __init__(self, step: Any, state: Any, batch: Any) -> None:
        self._step = _compiled(step, state, batch)
        self._state, self._batch = state, batch
        self.bytes = read_memory(self._step).total
        seconds(self)

    def __call__(self) -> Any:
        self._state, metrics = self._step(self._state, self._batch)
        return self._state, metrics


def _compiled(program: Any, *arrays: Any) -> Any:
    """Program compiled for arrays, or for their shapes.

    Raises:
      InputError: it takes more memory than is free, beside arrays that are there.
    """
    compiled = program.lower(*arrays).compile()
    memory, free = read_memory(compiled), available()
    shapes = any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(arrays))
    needed = memory.outputs + memory.temporaries + shapes * memory.arguments
    if free is not None and needed > free:
        raise InputError(f"needs {needed / 1e9:.1f} GB more, and {free / 1e9:.1f} GB are free")
    return compiled


def _alternate(call: Callable[[], Any], beside: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Medians of two calls in turn, after two that are not counted."""
    times = np.array([(seconds(call), seconds(beside)) for _ in range(rounds + 2)])[2:]
    first, second = np.median(times, axis=0).tolist()
    return {"seconds": first, "beside": second}


_SIZES = {config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size
          * config.intermediate_size) / 1e6: config for config in SIZES.values()}  # fmt: skip

AXES = {
    "model": Axis(tuple(sorted(_SIZES)), _models, f"{RULE} step of 8 x 128", "dense step"),
    "length": Axis((64, 128, 256, 512), _lengths, f"{RULE} step of 8 rows", "dense step"),
    "batch": Axis((4, 8, 16, 32, 64), _batches, f"{RULE} step of 128 tokens", "dense step"),
    "entries": Axis((10**6, 10**7, 10**8, 10**9), _entries, "exact top 10%", "one comparison"),
    "members": Axis((1, 2, 4, 8, 16), _members, "step of all at once", "one after the other"),
    "devices": Axis((1, 2, 4, 8), _devices, "step split over devices", "on one device"),
    "rows": Axis((10**3, 10**4, 10**5, 10**6), _rows, "reading and tokenising", "opening again"),
}
