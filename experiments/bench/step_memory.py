"""Memory of a train step by the arithmetic that a run prints, beside what XLA allots.

Nothing is computed: the step of `mpjax train` is compiled for shapes, on one device. XLA's number
is that of its arguments, which hold the state, and of its temporaries.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import jax

from mpjax import models
from mpjax.models import BertConfig
from mpjax.parallel.sharding import make_mesh, shardings
from mpjax.planning.memory import read_memory
from mpjax.planning.plan import plan_config
from mpjax.planning.program import abstract_step
from mpjax.report import render
from mpjax.training.memory.announce import as_computed
from mpjax.training.memory.estimate import Trained, step_memory


def run(config: BertConfig, batches: Sequence[int], length: int, rule: str) -> dict[str, Any]:
    """Compares the two for every number of rows; prints the table and returns the bytes."""
    result: dict[str, Any] = {}
    for rows in batches:
        ours, theirs = both(config, rows, length, rule)
        result[f"{rows} x {length}"] = {"arithmetic": ours, "xla": theirs, "ratio": theirs / ours}
        print(rows, length, result[f"{rows} x {length}"], file=sys.stderr, flush=True)
    print(f"{rule}, float32, MB of 10^6 bytes")
    table = [
        [name, *(f"{found[key] / 1e6:.0f}" for key in ("arithmetic", "xla")),
         f"{found['ratio']:.3f}"]
        for name, found in result.items()
    ]  # fmt: skip
    print(render(["rows x tokens", "arithmetic", "XLA", "XLA / arithmetic"], table))
    return result


def both(config: BertConfig, rows: int, length: int, rule: str) -> tuple[int, int]:
    """Bytes of the step by arithmetic, and as compiled."""
    options = {"model": "-", "task": "sst2", "method": rule}
    options |= {"batch_size": rows, "max_length": length}
    mesh = make_mesh({"data": 1}, jax.devices()[:1])
    step = abstract_step(plan_config(options), config, mesh)
    places, trained = shardings(step.state, mesh), Trained(rule != "dense", models.FROZEN)
    head = "classification"
    computed = as_computed(models.encoder(config, head), mesh, (rows, length))
    ours = step_memory(step.state, places, config, head, trained, computed).total
    return ours, read_memory(step.lower().compile()).total
