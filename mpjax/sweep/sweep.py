"""Sweeps: every combination of densities, λ, learning rates and seeds as one compiled program.

```
OUTPUT/
  members/NAME/   run folder of a member, as of `mpjax train`, without checkpoints
  checkpoints/    checkpoints of the members in training
  result.json     a row per member
  curve.png       score over density, if matplotlib is installed
```

Finished members are not trained again, so that a sweep continues where it stopped and more values
can be added to it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mpjax import tasks
from mpjax.config.checks import option
from mpjax.config.recorded import is_run
from mpjax.config.resolve import resolve
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object, write_json
from mpjax.locks import LOCK
from mpjax.log import log
from mpjax.runs import folder
from mpjax.runs.alone import alone
from mpjax.runs.signals import StopRequests
from mpjax.sweep.groups import (
    CHECKPOINTS,
    MEMBER_RUNS,
    Group,
    begun_groups,
    chunks,
    record_groups,
)
from mpjax.sweep.journals import Journals
from mpjax.sweep.placement import place_members
from mpjax.sweep.population import Population, make_population, stack
from mpjax.training.evaluate import score_dev
from mpjax.training.job import Inputs, Job
from mpjax.training.loop import Program, Span, run_steps
from mpjax.training.predict import make_predict
from mpjax.training.prepare import assemble, read_inputs
from mpjax.training.programs import host_hyperparameters
from mpjax.training.state import TrainState
from mpjax.training.train import finish, with_teacher

Axes = Mapping[str, Sequence[Any]]  # field of TrainConfig -> its values


def sweep(
    base: TrainConfig,
    axes: Axes,
    *,
    devices: int | None = None,
    members_at_once: int | None = None,
    memory: float | None = None,
) -> list[dict[str, Any]]:
    """Trains every combination of the values as `mpjax train` would; returns a row for each.

    Args:
      base: options that all members share; `output` is the folder of the sweep.
      axes: values by field: density, final_lambda, learning_rate, score_learning_rate, seed.
      devices: number of devices to use; all unless given.
      members_at_once: members that train together; all unless given.
      memory: bytes to use; all free memory unless given.

    Raises:
      InputError: a mistake in any member's options, or members whose state does not fit.
    """
    if base.output:
        base = dataclasses.replace(base, output=os.path.abspath(os.path.expanduser(base.output)))
    output = Path(base.output)
    configs = member_configs(base, axes)  # names options that are missing
    _check_output(output)
    configs = _with_dtype(configs, output)
    with alone(output):
        return _sweep(output, configs, list(axes), Limits(devices, members_at_once, memory))


@dataclasses.dataclass(frozen=True)
class Limits:
    """Devices, members that train together, and bytes; None = all."""

    devices: int | None
    members_at_once: int | None
    memory: float | None


def _sweep(
    output: Path, configs: Mapping[str, TrainConfig], axes: Sequence[str], limits: Limits
) -> list[dict[str, Any]]:
    """`sweep` in a folder that no other process writes."""
    runs = {name: folder.check(config, member=True) for name, config in configs.items()}
    waiting = [name for name, run in runs.items() if run.read_result() is None]
    if waiting:
        size, begun = begun_groups(output, waiting, configs.keys())
        members = dict.fromkeys([*waiting, *itertools.chain(*begun)])
        jobs = _prepare({name: configs[name] for name in members})
        # An interrupted group must have its old size to continue from its checkpoint.
        asked = limits.members_at_once
        together = min(size or len(waiting) if asked is None else asked, len(runs))
        chosen = place_members(jobs[waiting[0]], together, limits.devices, limits.memory)
        if begun and size != chosen.members:
            log.warning(
                "%d members trained together and %d do now: unfinished ones start anew",
                size, chosen.members,
            )  # fmt: skip
            begun = []
        population = make_population(jobs[waiting[0]], chosen.devices)
        rest = [name for name in waiting if not any(name in names for names in begun)]
        groups = [*begun, *chunks(rest, chosen.members)]
        for name in waiting:
            changed = folder.create(runs[name], configs[name], jobs[name].derived)
            folder.change(runs[name], changed)
        record_groups(output, chosen.members, groups)
        log.info(
            "%d members x %d steps, %d at a time, on %d device(s)", len(waiting),
            jobs[waiting[0]].length.total_steps, chosen.members, len(chosen.devices),
        )  # fmt: skip
        for names in groups:
            group = Group(output, [(jobs[n], runs[n]) for n in names], chosen.members)
            _train(population, group, chosen.memory)
        shutil.rmtree(output / CHECKPOINTS)
    rows = [
        {"member": name, **{field: getattr(configs[name], field) for field in axes},
         **read_object(runs[name].result)}
        for name in configs
    ]  # fmt: skip
    write_json(output / "result.json", {"axes": axes, "members": rows})
    return rows


def _with_dtype(configs: Mapping[str, TrainConfig], output: Path) -> dict[str, TrainConfig]:
    """Configs with the compute dtype of the members that have begun, where they ask for `auto`."""
    one = next(iter(configs.values()))
    begun = next((run for run in sorted((output / MEMBER_RUNS).glob("*")) if is_run(run)), None)
    like = one if begun is None else dataclasses.replace(one, output=str(begun))
    dtype = folder.with_dtype(like).dtype
    return {name: dataclasses.replace(config, dtype=dtype) for name, config in configs.items()}


def member_configs(base: TrainConfig, axes: Axes) -> dict[str, TrainConfig]:
    """Resolved config of every member by its name.

    Batches of several seeds differ in length and are padded alike. Only the loss of question
    answering, over positions, sees padding: its batches are padded to `max_length`.
    """
    for field, values in axes.items():
        if len(set(values)) != len(values) or not values:
            raise InputError(f"{option(field)} lists {values}; give every value once")
    several = len(axes.get("seed", ())) > 1
    configs = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        name = "-".join(f"{field}-{value}" for field, value in point.items()) or "single"
        place = str(Path(base.output) / MEMBER_RUNS / name) if base.output else ""
        changes: dict[str, Any] = {**point, "output": place, "devices": 1}
        config = resolve(dataclasses.replace(base, **changes))
        single = config.single_length or (several and tasks.get(config.task).head == "qa")
        configs[name] = dataclasses.replace(config, single_length=single)
    return configs


def _train(population: Population, group: Group, memory: int) -> None:
    """Trains the members of a group to their end and writes their models and results.

    Args:
      memory: bytes of the host that a step of all of them takes beside their states.
    """
    job, total = group.jobs[0], group.jobs[0].length.total_steps
    place = functools.partial(jax.device_put, device=population.sharding)
    values = place(stack([host_hyperparameters(job) for job in group.jobs]))
    seeds = place(np.asarray([job.seed for job in group.jobs], np.uint32))
    params = place(stack([job.inputs.model.params for job in group.jobs]))
    state = population.create(seeds, values, params)
    predict = make_predict(job.inputs.model.module)

    def score(state: TrainState) -> list[dict[str, float]]:
        params = population.finalize(values, state)
        return [
            score_dev(predict, _member(params, i), job.inputs.dev, job.eval_batch)
            for i, (job, _) in enumerate(group.members)
        ]

    program = Program(
        batch=lambda step: place(_batch(group.jobs, step)),
        step=functools.partial(population.step, values),
        measure=population.measure(values),
        score=score,
        memory=memory,
    )
    with ExitStack() as following:
        with ExitStack() as scope:
            checkpoints = scope.enter_context(group.open_checkpoints())
            stop = scope.enter_context(StopRequests())
            state = checkpoints.restore(state)
            start = checkpoints.latest()
            if start:
                log.warning("continuing %d members from step %d", len(group.members), start)
            journals = Journals(group, start, following)
            together = len(group.members)
            rows = together * job.inputs.batches.batch_size
            span = Span(start, total, f"{job.label} x {together}", group.output, rows)
            state = run_steps(
                program, state, span, job.cadence, journals, checkpoints, lambda: stop.signal or 0
            )
        params = population.finalize(values, state)
        for i, (job, run) in enumerate(group.members):
            if run.read_result() is not None:  # written before the sweep was interrupted
                continue
            if i in journals.diverged:
                diverged = {"task": job.inputs.task.name, "diverged": journals.diverged[i]}
                write_json(run.result, diverged)
            else:
                journals.reports[i].result(finish(job, run, _member(params, i)))


def _batch(jobs: Sequence[Job], step: int) -> Any:
    """Batches of a step for all members, padded to the longest among them.

    Padding is masked, so it changes nothing but the random numbers that dropout draws.
    """
    batches = [job.inputs.batches for job in jobs]
    length = max(each.length(step) for each in batches)
    return stack([each.batch(step, length=length) for each in batches])


def _prepare(configs: Mapping[str, TrainConfig]) -> dict[str, Job]:
    """Job of every member; members with one seed share data and parameters."""
    by_seed: dict[int, Inputs] = {}
    jobs = {}
    for name, config in configs.items():
        if config.seed not in by_seed:
            by_seed[config.seed] = with_teacher(assemble(config, read_inputs(config))).inputs
        jobs[name] = assemble(config, by_seed[config.seed])
    return jobs


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; give a folder for the sweep")
    names = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if names - {LOCK} and MEMBER_RUNS not in names:
        raise InputError(f"--output {output} is not empty and not a sweep; choose another folder")


@jax.jit
def _slice(tree: Any, i: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _member(tree: Any, i: int) -> Any:
    """Arrays of one member, on one device."""
    return jax.device_put(_slice(tree, i), jax.local_devices()[0])
