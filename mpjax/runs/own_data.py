"""Task of an evaluation, with the columns and labels that the model was trained on."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from mpjax import models, tasks
from mpjax.config.checks import check_no_split, check_seed_has_share
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.recorded import DATA_DIGEST, DERIVED, DEV_DIGEST
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log
from mpjax.runs.opening import model_folder
from mpjax.tasks.base import OWN, DataOptions, Encoded, Row, Task
from mpjax.tasks.own.task import OwnTask
from mpjax.tasks.repairing import with_repair

_NAMELESS = re.compile(r"LABEL_\d+")


def fitted_task(config: EvaluateConfig, recorded: Mapping[str, Any]) -> Task:
    """Task of a config, fitted to the data as the training run was.

    Args:
      config: completed, its task given.
      recorded: `config.json` of the run, {} for a model folder.
    """
    task = with_repair(tasks.get(str(config.task)), config.repair)
    options = DataOptions(
        config.text, config.label, config.dev_share, config.split_seed or 0, config.metric
    )
    if config.task not in OWN:
        check_no_split(task.name, config.dev_share, config.split_seed)
        return task.fit(config.data, options)
    if recorded.get("task") == config.task:
        options = _as_trained(config, recorded)
    else:
        labels = _given(config.labels) or _labels_of(model_folder(config.model), str(config.task))
        options = dataclasses.replace(options, labels=labels)
    check_seed_has_share(options.dev_share, config.split_seed)
    fitted = task.fit(config.data, options)
    if options.dev_share is None:
        log.info("--data %s: without a dev file, all rows are scored", config.data)
    return fitted


def _as_trained(config: EvaluateConfig, recorded: Mapping[str, Any]) -> DataOptions:
    """Options of the run, where the config gives no others; its split on its own data only."""
    found = recorded[DERIVED]
    share, seed = config.dev_share, config.split_seed
    if on_own_data(config, recorded):
        share = recorded.get("dev_share", TrainConfig.dev_share)
        seed = recorded.get("split_seed", TrainConfig.split_seed)
        for name, given, own in (
            ("--dev-share", config.dev_share, share),
            ("--split-seed", config.split_seed, seed),
        ):
            if given not in (None, own):
                raise InputError(
                    f"{name} {given} is another split of --data {shown(config.data)} than the "
                    f"run's, {own}: rows that it was trained on would be scored. Leave it out; a "
                    "copy of the file is scored as you say"
                )
    return DataOptions(
        text=config.text or ",".join(found.get("text", ())) or None,
        label=config.label or found.get("label"),
        dev_share=share,
        split_seed=seed or 0,
        metric=config.metric or found.get("metric"),
        labels=tuple(found.get("labels", ())) or None,
        unanswerable=found.get("unanswerable"),
    )


def on_own_data(config: EvaluateConfig, recorded: Mapping[str, Any]) -> bool:
    """Whether a run is evaluated on the data that it was trained on, for the task of its own."""
    same_task = config.task == recorded.get("task") and config.task in OWN
    return same_task and _same(config.data, recorded.get("data"))


def dev_digest(task: Task, rows: Sequence[Row]) -> dict[str, Any]:
    """Record of the dev rows of own data: their number and a hash of their texts; else {}."""
    if not isinstance(task, OwnTask):
        return {}
    state = xxhash.xxh3_128()
    for row in rows:
        state.update(repr(task.key(row)).encode("utf-8", "surrogatepass"))
    return {DEV_DIGEST: [len(rows), state.hexdigest()]}


def moved(task: Task, rows: Sequence[Row], recorded: Mapping[str, Any], data: Any) -> bool:
    """Whether the first dev rows are others than those of the run; warns where they are.

    A split goes by the places of the rows in the file, so one row more or less moves it.

    Args:
      recorded: `config.json` of a run on the same data.
    """
    then = recorded[DERIVED].get(DEV_DIGEST)
    if then is None or dev_digest(task, rows[: then[0]])[DEV_DIGEST] == then:
        return False
    log.warning(
        "--data %s has changed since the run was trained on it: the rows scored here are not "
        "those that it left out, and some of them may be rows that it was trained on. Give the "
        "file as it was, or one of new rows",
        shown(data),
    )
    return True


def check_encoded(
    config: EvaluateConfig, recorded: Mapping[str, Any], encoded: Encoded, length: int
) -> None:
    """Warns where the dev rows of a run on its own data have other labels or tokens than then.

    Rows that are more, fewer or cut to another length than those of the run are not compared.

    Args:
      recorded: `config.json` of the run, {} for a model folder.
      encoded: of the first `limit` rows, up to ``length`` tokens.
    """
    then = recorded.get(DERIVED, {}).get(DATA_DIGEST)
    same = _same(config.data, recorded.get("data")) and config.task == recorded.get("task")
    rows = (config.limit, length) == (recorded.get("limit_eval"), recorded.get("max_length"))
    if then is not None and same and rows and encoded.digest != then[1]:
        log.warning(
            "the dev rows of --data %s have changed since the run was scored on them: their "
            "labels, texts or tokens. Its result.json and this score do not compare",
            shown(config.data),
        )


def _labels_of(folder: Path, task: str) -> tuple[str, ...] | None:
    """Labels that a model folder names; None where it has none, or only numbers them."""
    if task not in ("classification", "tokens"):
        return None
    names = models.read_config(folder).id2label
    return None if names is None or all(map(_NAMELESS.fullmatch, names)) else names


def _given(labels: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in labels.split(",")) if labels else None


def _same(one: str | None, other: str | None) -> bool:
    if one is None or other is None or one.startswith("hub:"):
        return one == other
    return os.path.realpath(os.path.expanduser(one)) == os.path.realpath(other)
