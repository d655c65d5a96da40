"""`mpjax plan`: the cost of a train step on a TPU slice, beside that of the dense step."""

from __future__ import annotations

import dataclasses
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpjax.config.checks import DENSE
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.planning.chips import Chip
from mpjax.planning.collectives import Traffic, collectives
from mpjax.planning.hlo import parse
from mpjax.planning.memory import Memory, advice, read_memory, refused_memory
from mpjax.planning.roofline import Roofline, roofline
from mpjax.planning.shape import read_shape
from mpjax.planning.topology import parse_topology, topology_devices
from mpjax.planning.traffic import hbm_bytes

if TYPE_CHECKING:
    from mpjax.models import EncoderConfig

# Code for large fusions is what takes minutes; the least effort makes smaller ones.
_QUICK = {"exec_time_optimization_effort": -1.0}


@dataclass(frozen=True)
class Cost:
    """What a step takes of each device. What only a program that fits can tell is None.

    Attributes:
      flops: FLOPs. hbm_bytes: read from and written to main memory. moves: collectives by kind.
    """

    memory: Memory
    flops: float
    hbm_bytes: int | None = None
    moves: dict[str, Traffic] | None = None

    @property
    def sent(self) -> int:
        """Bytes that a device sends."""
        return sum(traffic.sent for traffic in (self.moves or {}).values())


@dataclass(frozen=True)
class StepPlan:
    """The cost of a config's step and of the dense step, on a mesh of chips.

    ``dense`` is None where the config itself is dense; ``remedies`` say what would make the step
    fit, () when it does. ``full_effort`` says that both were compiled as a run would compile them.
    """

    config: TrainConfig
    topology: str
    chip: Chip
    mesh: dict[str, int]
    step: Cost
    dense: Cost | None
    remedies: tuple[str, ...] = ()
    full_effort: bool = False

    @property
    def fits(self) -> bool:
        """Whether the step fits into the memory of a chip."""
        return self.step.hbm_bytes is not None and self.step.memory.total <= self.chip.hbm_bytes

    def roofline(self, cost: Cost) -> Roofline | None:
        """The least time of a step, None for a program that does not compile."""
        if cost.hbm_bytes is None:
            return None
        return roofline(self.chip, cost.flops, cost.hbm_bytes, cost.sent)

    @property
    def tokens(self) -> int:
        """Tokens of a batch, padding included."""
        return self.config.batch_size * self.config.max_length


def planned(options: dict[str, Any]) -> TrainConfig:
    """The resolved config of a plan. A density or λ that is not given is chosen: no cost depends
    on it.

    Raises:
      InputError: whatever `mpjax train` would refuse before it reads data.
    """
    from mpjax.pruning import RULES

    config = TrainConfig(**options, output="plan")
    rule = RULES.get(config.method)
    if rule is not None and config.density is None and config.final_lambda is None:
        if not rule.is_density:
            config = dataclasses.replace(config, final_lambda=1.0)
        elif not re.fullmatch(r"\d+:\d+", config.structure):  # that is a density itself
            config = dataclasses.replace(config, density=0.1)
    return resolve(config)


def plan_step(
    options: dict[str, Any],
    topology: str,
    full_effort: bool = False,
    devices: list[Any] | None = None,
) -> StepPlan:
    """Compiles the step of `mpjax train` with these options, and the dense one, and counts.

    Args:
      options: fields of `TrainConfig`; ``model`` is what `shape.read_shape` takes.
      topology: as ``v5e:4x4``.
      full_effort: compile as `mpjax train` does, in minutes. The quick compilation fuses less,
        which mostly makes memory and traffic of both steps larger.
      devices: to compile for instead of those of the topology, whose chip is still the yardstick.

    Raises:
      InputError: a mistake in the options, or a topology that cannot be compiled for.
    """
    chip, _ = parse_topology(topology)
    config = planned(options)
    shape = read_shape(config.model)
    found = topology_devices(topology) if devices is None else devices
    from mpjax.parallel.mesh import batch_parts, choose_mesh
    from mpjax.parallel.sharding import make_mesh
    from mpjax.planning.program import make_step, state_bytes

    mesh = choose_mesh(config, found)
    kinds = [config]
    if config.method != DENSE:
        kinds.append(_dense(config))
    # A compilation keeps more than one core busy: two at once on two cores are slower than in turn.
    with ThreadPoolExecutor(len(kinds) if (os.cpu_count() or 1) > 2 else 1) as pool:
        costs = list(pool.map(lambda kind: _cost(kind, shape, mesh, full_effort), kinds))
    step, remedies = costs[0], ()
    made = StepPlan(
        config, topology, chip, dict(mesh.shape), step, costs[1] if len(costs) > 1 else None,
        full_effort=full_effort,
    )  # fmt: skip
    if not made.fits:
        real = make_step(config, shape, mesh)
        everywhere = make_mesh({"fsdp": mesh.size}, list(mesh.devices.flat))
        split = (state_bytes(real, mesh), state_bytes(real, everywhere))
        remedies = advice(config, step.memory, chip.hbm_bytes, batch_parts(mesh), split)
    return dataclasses.replace(made, remedies=tuple(remedies))


def _dense(config: TrainConfig) -> TrainConfig:
    """The same step with nothing pruned."""
    names = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    kept = (
        "model", "task", "output", "batch_size", "max_length", "dtype", "accumulate", "mesh",
        "devices", "remat", "scan_layers", "train_embeddings",
    )  # fmt: skip
    same = {name: getattr(config, name) for name in names if name in kept}
    return resolve(TrainConfig(**same, method=DENSE))


def _cost(config: TrainConfig, shape: EncoderConfig, mesh: Any, full_effort: bool) -> Cost:
    import jax

    from mpjax.planning.program import make_step, state_bytes, step_flops

    step = make_step(config, shape, mesh)
    flops = step_flops(config, shape) / mesh.size
    lowered = step.lower()
    try:
        compiled = lowered.compile(compiler_options=None if full_effort else _QUICK)
    except jax.errors.JaxRuntimeError as error:
        memory = refused_memory(str(error), state_bytes(step, mesh))
        if memory is None:
            raise InputError(
                f"the compiler refuses the step: {str(error).splitlines()[0]}"
            ) from error
        return Cost(memory, flops)
    program = parse(compiled.as_text())
    return Cost(read_memory(compiled), flops, hbm_bytes(program), collectives(program, mesh.size))
