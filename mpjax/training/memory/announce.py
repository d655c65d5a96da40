"""Memory of a run's step, logged before it is compiled, and a warning where less is free."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mpjax.log import log
from mpjax.parallel.consensus import first
from mpjax.parallel.mesh import batch_parts
from mpjax.parallel.room import free_bytes
from mpjax.parallel.sharding import shardings
from mpjax.training.job import Job
from mpjax.training.memory.activations import Computed
from mpjax.training.memory.estimate import StepMemory, Trained, step_memory
from mpjax.training.state import create_state


def announce_memory(job: Job, tx: optax.GradientTransformation, begun: bool) -> StepMemory:
    """Logs the memory of a run's step on each device; warns if less is free.

    Args:
      tx: optimiser of the job.
      begun: the run has steps behind it, and keeps its batch.
    """
    memory = job_memory(job, tx)
    mesh = job.inputs.mesh
    each = " a device" if mesh.size > 1 else ""
    if first():
        log.info("memory%s: %s", each, memory.sentence())
    free = free_bytes(mesh.local_devices)
    if free is not None and memory.total > free:
        own = mesh.devices.flat[0].platform != "cpu"
        log.warning("%s", shortage(memory, free, batch_parts(mesh), own, begun))
    return memory


def job_memory(job: Job, tx: optax.GradientTransformation) -> StepMemory:
    """Memory of the step of a run; nothing is computed or allocated."""
    inputs, mesh = job.inputs, job.inputs.mesh
    create = functools.partial(create_state, pruning=job.pruning, tx=tx, scores=inputs.scores)
    state = jax.eval_shape(create, inputs.model.params)
    rows = inputs.batches.batch_size // job.accumulate // batch_parts(mesh)
    computed = computed_on(
        inputs.model.module, mesh, (rows, inputs.batches.longest), job.accumulate
    )
    places, trained = shardings(state, mesh), Trained(job.pruning is not None, job.frozen)
    return step_memory(state, places, inputs.model.config, inputs.model.head, trained, computed)


def computed_on(module: Any, mesh: Mesh, batch: tuple[int, int], microbatches: int = 1) -> Computed:
    """How a device of a mesh computes a batch of (rows, tokens) of its own.

    XLA:CPU computes bfloat16 in float32, and merges what an unrolled ``--remat`` computes again
    with what it computed first.
    """
    is_cpu = mesh.devices.flat[0].platform == "cpu"
    return Computed(
        *batch,
        width=4 if is_cpu else jnp.dtype(module.dtype).itemsize,
        microbatches=microbatches,
        stacked=module.scan_layers,
        remat=module.remat and (module.scan_layers or not is_cpu),
        tensor=mesh.shape["tensor"],
    )


def host_bytes(memory: StepMemory, devices: Sequence[Any], each: int = 1) -> int:
    """Bytes of the host that a step takes beside the state; 0 where devices have their own memory.

    Args:
      memory: of a device, or of a member.
      devices: of this process.
      each: members on each device.
    """
    own = devices[0].platform != "cpu"
    return 0 if own else (memory.total - memory.state) * len(devices) * each


def shortage(
    memory: StepMemory, free: int, parts: int, own: bool = True, begun: bool = False
) -> str:
    """Sentence about a step that needs more than is free, with the options that help.

    Args:
      memory: of the step.
      free: bytes of a device.
      parts: number of batch shards.
      own: more devices have more memory, unlike CPUs of one host.
      begun: the run keeps its batch.
    """
    computed = memory.computed
    said = (
        f"the train step needs about {_bytes(memory.total)} on each device, by arithmetic, and "
        f"{_bytes(free)} are free; it may run out of memory: "
    )
    row = memory.activations / computed.rows
    least = memory.state + max(memory.weights + row, memory.gradients)
    left = free - memory.state - memory.weights
    rows = int(left // row)
    if least > free or rows < 1:
        split = "split weights, scores and optimizer over more devices with --mesh fsdp=N, or "
        return said + (
            f"with one row at a time it needs {_bytes(least)}, so {split if own else ''}take a "
            f"smaller model{'' if own else ' or a machine with more memory'}"
        )
    helps = [f"--batch-size {rows * parts * computed.microbatches} at most"]
    added = memory.summed if computed.microbatches == 1 else 0
    for many in range(2, computed.rows + 1):
        if computed.rows % many == 0 and memory.activations / many <= left - added:
            helps.insert(0, f"--accumulate {many * computed.microbatches}, which keeps the batch")
            break
    more = ["more devices in --mesh"] if own else []
    if begun:  # first what this run can take
        return said + ", or ".join([*more, f"another --output with {' or '.join(helps)}"])
    return said + ", or ".join([*helps, *more])


def _bytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
