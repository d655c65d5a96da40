"""Run folder: all files of one run, each written atomically.

```
RUN/
  config.json       resolved options, and sizes derived from the data
  provenance.json   versions, commit, devices and command of every session
  metrics.jsonl     one line per logged step; the same bytes for the same config
  timings.jsonl     seconds, kept apart because they never repeat
  masks.jsonl       shares of the weights that leave the mask and come back
  warnings.jsonl    warnings that the commands gave
  report.html       all of it as a page, with the packages of the extra `report`
  tensorboard/      the same metrics as TensorBoard events, with --report-to tensorboard
  wandb/            files of Weights & Biases, with --report-to wandb
  trackers.json     steps that the trackers of --report-to have got
  checkpoints/      Orbax: parameters, scores, optimiser state
  model/            the finished model, a plain Hugging Face folder with zeros
  result.json       scores, densities, steps, seconds; written last
```
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpjax.config.changes import CHANGEABLE, changes
from mpjax.config.checks import option
from mpjax.config.recorded import (
    CONFIG,
    DATA_DIGEST,
    DERIVED,
    DEV_DIGEST,
    TEACHER_DIGEST,
    as_dict,
    changed_meaning,
    differences,
    is_run,
)
from mpjax.config.train import DTYPES, TrainConfig
from mpjax.errors import InputError
from mpjax.files import parse_object, read_object, shown, write_json, write_text
from mpjax.locks import LOCK
from mpjax.log import log
from mpjax.tasks.base import SPLITS

_NAMED = 8  # differing options that a message names


@dataclass(frozen=True)
class RunDir:
    """Paths inside a run folder."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        return self.path / "timings.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def masks(self) -> Path:
        return self.path / "masks.jsonl"

    @property
    def warnings(self) -> Path:
        return self.path / "warnings.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def growing(self) -> tuple[Path, ...]:
        """Files that grow with the steps, copied into every checkpoint."""
        return self.metrics, self.timings, self.masks

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    def read_result(self) -> dict[str, Any] | None:
        """Content of `result.json`, or None while the run is not finished.

        A damaged one is said, and written again by the last steps of the run.
        """
        try:
            return read_object(self.result) if self.result.is_file() else None
        except InputError as error:
            log.warning("%s; it is made again", error)
            return None


def with_dtype(config: TrainConfig) -> TrainConfig:
    """Config with the compute dtype that `auto` stands for: the run's, or one for these devices.

    Raises:
      InputError: the run has recorded another word than a dtype of `--dtype`.
    """
    if config.dtype in DTYPES:
        return config
    if is_run(config.output):
        file = RunDir(Path(config.output)).config
        recorded = read_object(file).get("dtype", TrainConfig.dtype)
        if recorded not in DTYPES:
            raise InputError(f"{file} is damaged: its dtype is {shown(recorded)}")
        return dataclasses.replace(config, dtype=recorded)
    from mpjax.models.precision import chosen_dtype  # imports jax

    dtype = chosen_dtype(config.dtype)
    log.info("--dtype auto: %s", dtype)
    return dataclasses.replace(config, dtype=dtype)


def check(config: TrainConfig, *, member: bool = False) -> RunDir:
    """Run folder of a config, after checking that it is free or belongs to the same run.

    Args:
      member: it is one of a sweep, whose options do not change on the way.

    Raises:
      InputError: the output is a file, not empty and no run, or a run with other options, which
        are named, or is finished and is to change. Nothing is written.
    """
    run = RunDir(Path(config.output))
    if run.path.exists() and not run.path.is_dir():  # devices and sockets, too
        raise InputError(f"--output {run.path} is a file; give a folder for the run")
    if not run.path.exists() or not any(_of_others(run.path)):
        if config.continue_with:
            raise InputError(
                f"--continue-with is for a run that has begun, and {run.path} holds none; give the "
                "values as ordinary options"
            )
        return run
    if not is_run(run.path):
        raise InputError(
            f"--output {run.path} is not empty and not a run of mpjax; choose another folder"
        )
    then = read_object(run.config)
    del then[DERIVED]
    new = [name for name, value in changes(config).items() if then.get(name) != value]
    if new and run.result.is_file():
        raise InputError(
            f"the run in {run.path} is finished: --continue-with cannot change its "
            f"{', '.join(option(name)[2:] for name in new)}; choose another --output to train anew"
        )
    changed = differences(
        {**as_dict(config), **{name: then.get(name) for name in changes(config)}}, then
    )
    changed += [] if run.result.is_file() else changed_meaning(then)
    if changed:
        more = [f"and {len(changed) - _NAMED} more"] if len(changed) > _NAMED else []
        raise InputError(
            f"--output {run.path} belongs to a different run: "
            f"{'; '.join(changed[:_NAMED] + more)}. "
            "Choose another folder, or the recorded options to continue it"
            + ("" if run.result.is_file() or member else _change_advice(config, then, len(changed)))
        )
    return run


def _change_advice(config: TrainConfig, then: Mapping[str, Any], differences: int) -> str:
    """How to change a run by all the options that differ, "" where one of them cannot change."""
    now, given = as_dict(config), changes(config)
    free = {name: now[name] for name in CHANGEABLE if name in then and now[name] != then[name]}
    if len(free.keys() - given.keys()) < differences or None in free.values():
        return ""
    values = ",".join(f"{option(name)[2:]}={value}" for name, value in (free | given).items())
    return f"; to change it, give these and --continue-with {values}"


def create(run: RunDir, config: TrainConfig, derived: Mapping[str, Any]) -> dict[str, Any]:
    """Writes `config.json` of a new run, or compares `derived` with the recorded one.

    Returns the options that `--continue-with` changes, as [then, now] by name, {} without any. They
    are written by `change`, once the run goes on.

    Args:
      derived: sizes derived from the data (rows, steps), which differ when the data do.
    """
    if run.config.is_file():
        # Runs recorded before cuts were fitted to the run had the interval of the option, and
        # earlier ones no digests of their rows and teacher.
        recorded = read_object(run.config)
        later = (DEV_DIGEST, DATA_DIGEST, TEACHER_DIGEST)
        digests = {name: derived[name] for name in later if name in derived}
        then = {"prune_every": config.prune_every, **digests} | recorded[DERIVED]
        other = {name: value for name, value in derived.items() if then.get(name) != value}
        if DATA_DIGEST in other:
            other.pop(DEV_DIGEST, None)  # of some of these rows
        if changed := [_change_of(name, then.get(name), value) for name, value in other.items()]:
            raise InputError(
                f"the data of the run in {run.path} have changed since it began: "
                f"{'; '.join(changed)}. Choose another --output"
            )
        if digests.keys() - recorded[DERIVED].keys():
            write_json(run.config, {**recorded, DERIVED: digests | recorded[DERIVED]})
        now = {name: value for name, value in changes(config).items() if recorded[name] != value}
        return {name: [recorded[name], value] for name, value in now.items()}
    run.path.mkdir(parents=True, exist_ok=True)
    write_json(run.config, {**as_dict(config), DERIVED: dict(derived)})
    return {}


def _change_of(name: str, then: Any, now: Any) -> str:
    """Change of a derived value, as part of a sentence."""
    if name == DATA_DIGEST and isinstance(then, list) and len(then) == len(now):
        rows = [f"{split} rows" for split, a, b in zip(SPLITS, then, now, strict=True) if a != b]
        return f"texts, labels or tokens of the {' and '.join(rows)}"
    if name == TEACHER_DIGEST:
        return "the weights of the teacher"
    return f"{name} was {shown(then)}, now {now}"


def change(run: RunDir, changed: Mapping[str, Sequence[Any]]) -> None:
    """Writes the options that `create` has returned into `config.json`."""
    if changed:
        now = {name: value for name, (_, value) in changed.items()}
        write_json(run.config, {**read_object(run.config), **now})


def _of_others(folder: Path) -> list[Path]:
    """Files of a folder but the lock and the temporary ones of a run that was killed at once."""
    return [path for path in folder.iterdir() if not path.name.startswith((LOCK, f".{CONFIG}."))]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a .jsonl file of a run; drops an incomplete last line.

    The last line is incomplete if the machine stopped while writing it.

    Raises:
      InputError: another line is damaged.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
    return [_record(path, number, line) for number, line in enumerate(lines, 1)]


def keep_until(path: Path, step: int) -> None:
    """Drops the records after `step` from a .jsonl file, before a run continues there."""
    if step == 0 or not path.is_file():
        path.unlink(missing_ok=True)
        return
    kept = [record for record in read_lines(path) if record["step"] <= step]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = parse_object(path, line)
    except InputError as error:
        raise InputError(f"{path} line {number} is damaged") from error
    if not isinstance(record.get("step"), int):
        raise InputError(f"{path} line {number} is damaged: it has no step")
    return record
