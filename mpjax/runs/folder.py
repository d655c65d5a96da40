"""Run folder: all files of one run, each written atomically.

```
RUN/
  config.json       resolved options, and sizes derived from the data
  provenance.json   versions, commit, devices and command of every session
  metrics.jsonl     one line per logged step; the same bytes for the same config
  timings.jsonl     seconds, kept apart because they never repeat
  tensorboard/      the same metrics as TensorBoard events, with --tensorboard
  checkpoints/      Orbax: parameters, scores, optimiser state
  model/            the finished model, a plain Hugging Face folder with zeros
  result.json       scores, densities, steps, seconds; written last
```
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpjax.config.recorded import CONFIG, DERIVED, as_dict, changed_meaning, differences, is_run
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object, write_json, write_text


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
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    def read_result(self) -> dict[str, Any] | None:
        """Content of `result.json`, or None while the run is not finished."""
        return read_object(self.result) if self.result.is_file() else None


def check(config: TrainConfig) -> RunDir:
    """Run folder of a config, after checking that it is free or belongs to the same run.

    Raises:
      InputError: the output is a file, not empty and no run, or a run with other options, which
        are named. Nothing is written.
    """
    run = RunDir(Path(config.output))
    if run.path.is_file():
        raise InputError(f"--output {run.path} is a file; give a folder for the run")
    if not run.path.exists() or not any(run.path.iterdir()):
        return run
    if not is_run(run.path):
        raise InputError(
            f"--output {run.path} is not empty and not a run of mpjax; choose another folder"
        )
    then = read_object(run.config)
    del then[DERIVED]
    changed = differences(as_dict(config), then)
    changed += [] if run.result.is_file() else changed_meaning(then)
    if changed:
        raise InputError(
            f"--output {run.path} belongs to a different run: {'; '.join(changed)}. "
            "Choose another folder, or the old options to continue it"
        )
    return run


def create(run: RunDir, config: TrainConfig, derived: Mapping[str, Any]) -> None:
    """Writes `config.json` of a new run, or compares `derived` with the recorded one.

    Args:
      derived: sizes derived from the data (rows, steps), which differ when the data do.
    """
    if run.config.is_file():
        # Runs recorded before cuts were fitted to the run had the interval of the option.
        then = {"prune_every": config.prune_every, **read_object(run.config)[DERIVED]}
        changed = [
            f"{k} was {then.get(k)}, now {v}" for k, v in derived.items() if then.get(k) != v
        ]
        if changed:
            raise InputError(
                f"the data of the run in {run.path} have changed since it began: "
                f"{'; '.join(changed)}. Choose another --output"
            )
        return
    run.path.mkdir(parents=True, exist_ok=True)
    write_json(run.config, {**as_dict(config), DERIVED: dict(derived)})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a .jsonl file of a run; drops an incomplete last line.

    The last line is incomplete if the machine stopped while writing it.
    """
    if not path.is_file():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def keep_until(path: Path, step: int) -> None:
    """Drops the records after `step` from a .jsonl file, before a run continues there."""
    if path.is_file():
        kept = [record for record in read_lines(path) if record["step"] <= step]
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
