"""Memory of a train step by the arithmetic that a run prints, beside what XLA allots.

Nothing is computed: the step of `mpjax train` is compiled for shapes, for each device of a mesh.
XLA's number is that of its arguments, which hold the state, and of its temporaries.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from mpjax import models
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.models import BertConfig
from mpjax.parallel.mesh import batch_parts
from mpjax.parallel.sharding import make_mesh, shardings
from mpjax.planning.memory import read_memory
from mpjax.planning.plan import plan_config
from mpjax.planning.program import abstract_step
from mpjax.report import render
from mpjax.training.memory.announce import computed_on
from mpjax.training.memory.estimate import Trained, step_memory


def run(
    config: BertConfig, batches: Sequence[int], length: int, rule: str, split: Mapping[str, int]
) -> dict[str, Any]:
    """Compares the two for every number of rows; prints the table and returns the bytes."""
    result: dict[str, Any] = {}
    if math.prod(split.values()) > len(jax.devices()):
        raise InputError(f"--mesh needs {math.prod(split.values())} devices; {len(jax.devices())} "
                         "are there")  # fmt: skip
    mesh = make_mesh(split, jax.devices()[: math.prod(split.values())])
    for rows in batches:
        if rows % batch_parts(mesh):
            raise InputError(
                f"--batches: {rows} rows are no multiple of {batch_parts(mesh)} shards"
            )
        ours, theirs = both(config, (rows, length), rule, mesh)
        result[f"{rows} x {length}"] = {"arithmetic": ours, "xla": theirs, "ratio": theirs / ours}
        print(rows, length, result[f"{rows} x {length}"], file=sys.stderr, flush=True)
    parts = ",".join(f"{axis}={size}" for axis, size in split.items())
    print(f"{rule}, float32, --mesh {parts}, MB of 10^6 bytes on each device")
    table = [
        [name, *(f"{found[key] / 1e6:.0f}" for key in ("arithmetic", "xla")),
         f"{found['ratio']:.3f}"]
        for name, found in result.items()
    ]  # fmt: skip
    print(render(["rows x tokens", "arithmetic", "XLA", "XLA / arithmetic"], table))
    return result


def both(config: BertConfig, batch: tuple[int, int], rule: str, mesh: Mesh) -> tuple[int, int]:
    """Bytes of the step of a batch (rows, tokens) on each device, by arithmetic and as compiled."""
    rows, length = batch
    options: dict[str, Any] = {"model": "-", "task": "sst2", "method": rule}
    options |= {"batch_size": rows, "max_length": length}
    step = abstract_step(plan_config(TrainConfig(**options)), config, mesh)
    places, trained = shardings(step.state, mesh), Trained(rule != "dense", models.FROZEN)
    head = "classification"
    own = rows // batch_parts(mesh)
    computed = computed_on(models.encoder(config, head), mesh, (own, length))
    ours = step_memory(step.state, places, config, head, trained, computed).total
    return ours, read_memory(step.lower().compile()).total
