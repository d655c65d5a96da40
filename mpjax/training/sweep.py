"""A whole accuracy-density curve at once: densities, λ, learning rates and seeds as one program.

```
OUTPUT/
  members/NAME/   a run folder each, as `mpjax train` makes it, but for its checkpoints
  checkpoints/    of the members that are training
  result.json     a row per member
  curve.png       score over density, where matplotlib is installed
```

A member finished once is not trained again, so that a sweep goes on where it stopped and can be
widened by more values.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.training import provenance, rundir
from mpjax.training.board import Board
from mpjax.training.checkpoints import Checkpoints
from mpjax.training.config import TrainConfig, make_rule, resolve
from mpjax.training.evaluate import score_dev
from mpjax.training.job import Job, prepare
from mpjax.training.journal import Journal, total_loss
from mpjax.training.loop import finish
from mpjax.training.memory import place_members
from mpjax.training.options import option
from mpjax.training.population import Population, make_population, stack, traits
from mpjax.training.progress import Interrupted, StopRequests, bar, log
from mpjax.training.recipe import learning_rates, with_answers
from mpjax.training.rundir import RunDir
from mpjax.training.step import make_predict

Axes = Mapping[str, Sequence[Any]]  # field of TrainConfig -> its values


def sweep(
    base: TrainConfig,
    axes: Axes,
    *,
    devices: int | None = None,
    members_at_once: int | None = None,
    memory: float | None = None,
) -> list[dict[str, Any]]:
    """Trains every combination of the values, each as `mpjax train` would; a row for each.

    Args:
      base: everything else; `output` is the folder of the sweep.
      axes: values by field: density, final_lambda, learning_rate, score_learning_rate, seed.
      devices: lay the members over the first N only.
      members_at_once: train so many together, and then the next ones.
      memory: bytes that may be used, instead of what is free.

    Raises:
      InputError: a mistake in any member's options, or members whose state does not fit.
    """
    if base.output:
        base = dataclasses.replace(base, output=os.path.abspath(os.path.expanduser(base.output)))
    configs = member_configs(base, axes)
    _check_output(Path(base.output))
    runs = {name: rundir.check(config) for name, config in configs.items()}
    waiting = [name for name, run in runs.items() if run.read_result() is None]
    if waiting:
        jobs = _prepare({name: configs[name] for name in waiting})
        # A last group that was stopped must be as large again, to go on from its checkpoint.
        together = len(waiting) if members_at_once is None else min(members_at_once, len(runs))
        chosen = place_members(jobs[waiting[0]], together, devices, memory)
        population = make_population(jobs[waiting[0]], chosen.devices)
        for name in waiting:
            rundir.create(runs[name], configs[name], jobs[name].derived)
        log.info(
            "%d members x %d steps, %d at a time, on %d device(s)", len(waiting),
            jobs[waiting[0]].plan.total_steps, chosen.members, len(chosen.devices),
        )  # fmt: skip
        for some in _chunks(waiting, chosen.members):
            group = _Group(Path(base.output), [(jobs[n], runs[n]) for n in some], chosen.members)
            _train(population, group)
        shutil.rmtree(Path(base.output) / "checkpoints")
    rows = [
        {"member": name, **{field: getattr(configs[name], field) for field in axes},
         **rundir.read_json(runs[name].result)}
        for name in configs
    ]  # fmt: skip
    rundir.write_json(Path(base.output) / "result.json", {"axes": list(axes), "members": rows})
    return rows


def member_configs(base: TrainConfig, axes: Axes) -> dict[str, TrainConfig]:
    """The resolved config of every member by its name.

    Batches of several seeds differ in length and are padded alike. Only the loss over positions of
    a question answerer sees padding: there, all are padded to `max_length`, alone as together.
    """
    for field, values in axes.items():
        if len(set(values)) != len(values) or not values:
            raise InputError(f"{option(field)} lists {values}; give every value once")
    several = len(axes.get("seed", ())) > 1
    configs = {}
    for values in itertools.product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        name = "-".join(f"{field}-{value}" for field, value in point.items()) or "single"
        place = str(Path(base.output) / "members" / name) if base.output else ""
        changes: dict[str, Any] = {**point, "output": place, "devices": 1}
        config = resolve(dataclasses.replace(base, **changes))
        single = config.single_length or (several and tasks.get(config.task).head == "qa")
        configs[name] = dataclasses.replace(config, single_length=single)
    return configs


@dataclasses.dataclass(frozen=True)
class _Group:
    """Members that train together; the program's other places are filled with the last one."""

    output: Path
    members: list[tuple[Job, RunDir]]
    size: int

    @property
    def jobs(self) -> list[Job]:
        jobs = [job for job, _ in self.members]
        return jobs + jobs[-1:] * (self.size - len(jobs))

    @property
    def checkpoints(self) -> Path:
        names = "\n".join([str(self.size), *(run.path.name for _, run in self.members)])
        return self.output / "checkpoints" / hashlib.sha256(names.encode()).hexdigest()[:16]


def _train(population: Population, group: _Group) -> None:
    """Trains the members of a group to their end and writes their models and results."""
    job, total = group.jobs[0], group.jobs[0].plan.total_steps
    config = job.config
    place = functools.partial(jax.device_put, device=population.sharding)
    own = place(stack([traits(job) for job in group.jobs]))
    state = population.create(own, place(stack([job.model.params for job in group.jobs])))
    predict = make_predict(job.model.module)
    with ExitStack() as scope:
        checkpoints = scope.enter_context(Checkpoints(group.checkpoints))
        stop = scope.enter_context(StopRequests())
        state = checkpoints.restore(state)
        start = checkpoints.latest()
        if start:
            log.warning("continuing %d members from step %d", len(group.members), start)
        journals = _Journals(group, start, scope)
        label = f"{config.task} {config.method} x {len(group.members)}"
        for step in bar(range(start + 1, total + 1), total, start, label):
            logged = step % config.log_every == 0 or step == total
            measures = population.measure(own, state) if logged else {}
            state, metrics = population.step(own, state, place(_batch(group.jobs, step - 1)))
            if logged:
                journals.train(step, {**metrics, **measures})
            if step == total or (config.eval_every and step % config.eval_every == 0):
                params = population.fold(own, state)
                for i, (job, _) in enumerate(group.members):
                    score = score_dev(predict, _member(params, i), job.dev, config.eval_batch_size)
                    journals.evaluation(i, step, score)
            if step % config.checkpoint_every == 0 or step == total or stop.signal:
                journals.sync()
                checkpoints.save(state, step)
            if stop.signal and step < total:
                checkpoints.wait()
                raise Interrupted(
                    stop.signal,
                    f"stopped at step {step} of {total}; the same command continues {group.output}",
                )
    params = population.fold(own, state)
    for i, (job, run) in enumerate(group.members):
        if i in journals.diverged:
            rundir.write_json(run.result, {"task": config.task, "diverged": journals.diverged[i]})
        else:
            finish(job, run, _member(params, i))


def _batch(jobs: Sequence[Job], step: int) -> Any:
    """The members' batches of a step, of one length: the longest that one of them needs.

    Padding is masked, so that it changes nothing but which random numbers dropout draws.
    """
    length = max(job.batches.length(step) for job in jobs)
    return stack([job.batches.batch(step, length=length) for job in jobs])


class _Journals:
    """One journal per member; a member whose loss is no number any more stops writing."""

    def __init__(self, group: _Group, start: int, scope: ExitStack) -> None:
        self.diverged: dict[int, int] = {}  # member -> step
        self._members = group.members
        self._journals = []
        for job, run in group.members:
            provenance.record(run, start)
            board = scope.enter_context(Board(None, start))
            self._journals.append(Journal(run, start, job.config.batch_size, board))

    def train(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        fetched = jax.device_get(dict(metrics))
        for i, (job, _) in enumerate(self._members):
            values = {name: array[i] for name, array in fetched.items()}
            if not math.isfinite(total_loss(values)):
                self.diverged.setdefault(i, step)
            if i not in self.diverged:
                self._journals[i].train(step, {**values, **learning_rates(job, step - 1)})

    def evaluation(self, i: int, step: int, score: Mapping[str, float]) -> None:
        if i not in self.diverged:
            self._journals[i].evaluation(step, score)

    def sync(self) -> None:
        for journal in self._journals:
            journal.sync()


def _prepare(configs: Mapping[str, TrainConfig]) -> dict[str, Job]:
    """The job of every member; those of one seed share data and parameters."""
    by_seed: dict[int, Job] = {}
    jobs = {}
    for name, config in configs.items():
        if config.seed not in by_seed:
            by_seed[config.seed] = with_answers(prepare(config))
        job = by_seed[config.seed]
        jobs[name] = dataclasses.replace(job, config=config, rule=make_rule(config))
    return jobs


def _check_output(output: Path) -> None:
    if output.is_file():
        raise InputError(f"--output {output} is a file; give a folder for the sweep")
    if output.is_dir() and any(output.iterdir()) and not (output / "members").is_dir():
        raise InputError(f"--output {output} is not empty and not a sweep; choose another folder")


def _chunks(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[i : i + size] for i in range(0, len(names), size)]


@jax.jit
def _slice(tree: Any, i: jax.Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _member(tree: Any, i: int) -> Any:
    """One member's arrays, on one device."""
    return jax.device_put(_slice(tree, i), jax.local_devices()[0])
