"""`mpjax plan`: cost of a train step on a TPU slice, beside the cost of the dense step."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from mpjax.config.checks import DENSE
from mpjax.config.resolve import resolve
from mpjax.config.structure import is_n_of_m
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.models import EncoderConfig
from mpjax.models.precision import AUTO
from mpjax.parallel.mesh import batch_parts, choose_mesh
from mpjax.parallel.sharding import make_mesh
from mpjax.planning.chips import Chip
from mpjax.planning.collectives import Collectives, count_collectives
from mpjax.planning.hlo import parse_hlo
from mpjax.planning.memory import Memory, advice, read_memory, refused_memory
from mpjax.planning.program import abstract_step, expected_memory, state_bytes, step_flops
from mpjax.planning.roofline import Roofline, roofline
from mpjax.planning.shape import read_shape
from mpjax.planning.topology import parse_topology, topology_devices
from mpjax.planning.traffic import hbm_bytes
from mpjax.pruning import RULES

# XLA effort level O0: most of the minutes of a full compilation go into code for large fusions, and
# O0 makes smaller ones. A build option of its own, taken by jax 0.10 and 0.12 as a number (jax 0.10
# takes no name); `exec_time_optimization_effort` is gone in 0.12. `xla_backend_optimization_level`
# and `xla_llvm_disable_expensive_passes` leave programs for TPUs as they are.
QUICK = {"optimization_level": 9}


@dataclass(frozen=True)
class Cost:
    """Cost of a step per device. HBM bytes and collectives are None if the program does not fit."""

    memory: Memory
    flops: float
    hbm_bytes: int | None = None  # read and written
    collectives: dict[str, Collectives] | None = None  # by kind

    @property
    def sent(self) -> int:
        """Bytes sent in collectives."""
        return sum(kind.sent for kind in (self.collectives or {}).values())


@dataclass(frozen=True)
class StepPlan:
    """Cost of a config's step and of the dense step on a mesh of chips."""

    config: TrainConfig
    topology: str
    chip: Chip
    mesh: dict[str, int]
    step: Cost
    dense: Cost | None  # None if the config itself is dense
    remedies: tuple[str, ...] = ()  # options that would make the step fit; empty if it fits
    full_effort: bool = False  # both compiled as a run compiles them

    @property
    def fits(self) -> bool:
        """Whether the step fits into the memory of a chip."""
        return self.step.hbm_bytes is not None and self.step.memory.total <= self.chip.free_bytes

    def roofline(self, cost: Cost) -> Roofline | None:
        """Roofline of a cost, None for a program that does not fit."""
        if cost.hbm_bytes is None:
            return None
        return roofline(self.chip, cost.flops, cost.hbm_bytes, cost.sent)

    @property
    def tokens(self) -> int:
        """Tokens of a global batch, padding included."""
        return self.config.batch_size * self.config.max_length


def plan_config(config: TrainConfig) -> TrainConfig:
    """Resolved config of a plan. A missing density or λ gets a value: no cost depends on it.

    Raises:
      InputError: a mistake that `mpjax train` would refuse before it reads data.
    """
    fast = "bfloat16" if config.dtype == AUTO else config.dtype  # on a TPU
    config = dataclasses.replace(config, output="plan", dtype=fast)
    rule = RULES.get(config.method)
    if rule is not None and config.density is None and config.final_lambda is None:
        if not rule.is_density:
            config = dataclasses.replace(config, final_lambda=1.0)
        elif not is_n_of_m(config.structure):  # N:M is a density itself
            config = dataclasses.replace(config, density=0.1)
    return resolve(config)


def plan_step(
    config: TrainConfig,
    topology: str,
    full_effort: bool = False,
    devices: list[Any] | None = None,
) -> StepPlan:
    """Compiles the step of `mpjax train` with a config and the dense step, and counts their costs.

    Args:
      config: options of the run; ``model`` as for `read_shape`. Their output is not used.
      topology: TPU slice, such as ``v5e:4x4``.
      full_effort: compile as `mpjax train` does, in minutes. The quick compilation fuses less,
        which mostly overstates memory and traffic of both steps.
      devices: compile for these devices; limits and rates are still those of the topology's chip.

    Raises:
      InputError: a mistake in the config, or a topology that cannot be compiled for.
    """
    chip, _ = parse_topology(topology)
    config = plan_config(config)
    shape = read_shape(config.model)
    found = topology_devices(topology) if devices is None else devices
    mesh = choose_mesh(config, found)
    configs = [config] if config.method == DENSE else [config, _dense_config(config)]
    # A compilation keeps more than one core busy: two at once on two cores are slower than in turn.
    with ThreadPoolExecutor(len(configs) if (os.cpu_count() or 1) > 2 else 1) as pool:
        costs = list(pool.map(lambda one: _cost(one, shape, mesh, full_effort), configs))
    step, remedies = costs[0], ()
    made = StepPlan(
        config, topology, chip, dict(mesh.shape), step, costs[1] if len(costs) > 1 else None,
        full_effort=full_effort,
    )  # fmt: skip
    if not made.fits:
        remedies = _remedies(config, shape, mesh, step.memory, chip.free_bytes)
    return dataclasses.replace(made, remedies=tuple(remedies))


def _remedies(
    config: TrainConfig, shape: EncoderConfig, mesh: Mesh, memory: Memory, free: float
) -> list[str]:
    """Options that would make a step fit."""
    step, parts = abstract_step(config, shape, mesh), batch_parts(mesh)
    expected = expected_memory(step, config, shape, mesh)
    now = spread = state_bytes(step, mesh)
    if config.batch_size // config.accumulate % mesh.size == 0:
        fsdp = make_mesh({"fsdp": mesh.size}, list(mesh.devices.flat))
        spread = state_bytes(step, fsdp)
    return advice(config, memory, expected, free, parts, (now, spread))


def _dense_config(config: TrainConfig) -> TrainConfig:
    """Config of the step that prunes nothing."""
    names = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    kept = (
        "model", "task", "output", "batch_size", "max_length", "dtype", "accumulate", "mesh",
        "devices", "remat", "scan_layers", "train_embeddings",
    )  # fmt: skip
    same = {name: getattr(config, name) for name in names if name in kept}
    return resolve(TrainConfig(**same, method=DENSE))


def _cost(config: TrainConfig, shape: EncoderConfig, mesh: Mesh, full_effort: bool) -> Cost:
    step = abstract_step(config, shape, mesh)
    flops = step_flops(config, shape) / mesh.size
    lowered = step.lower()
    try:
        compiled = lowered.compile(compiler_options=None if full_effort else QUICK)
    except jax.errors.JaxRuntimeError as error:
        memory = refused_memory(str(error), state_bytes(step, mesh))
        if memory is None:
            raise InputError(
                f"the compiler refuses the step: {str(error).splitlines()[0]}"
            ) from error
        return Cost(memory, flops)
    program = parse_hlo(compiled.as_text())
    return Cost(
        read_memory(compiled), flops, hbm_bytes(program), count_collectives(program, mesh.size)
    )
