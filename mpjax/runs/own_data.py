"""Task of an evaluation, with the columns and labels that the model was trained on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpjax import models, tasks
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.recorded import DERIVED
from mpjax.config.train import TrainConfig
from mpjax.log import log
from mpjax.runs.opening import model_folder
from mpjax.tasks.base import OWN, DataOptions, Task
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
        return task.fit(config.data, options)
    if recorded.get("task") == config.task:
        options = _as_trained(config, recorded)
    else:
        labels = _given(config.labels) or _labels_of(model_folder(config.model), str(config.task))
        options = DataOptions(
            config.text, config.label, config.dev_share, config.split_seed or 0, config.metric,
            labels,
        )  # fmt: skip
    fitted = task.fit(config.data, options)
    if options.dev_share is None:
        log.info("--data %s: without a dev file, all rows are scored", config.data)
    return fitted


def _as_trained(config: EvaluateConfig, recorded: Mapping[str, Any]) -> DataOptions:
    """Options of the run, where the config gives no others; its split on its own data only."""
    found = recorded[DERIVED]
    share, seed = config.dev_share, config.split_seed
    if share is None and _same(config.data, recorded.get("data")):
        share = recorded.get("dev_share", TrainConfig.dev_share)
        seed = recorded.get("split_seed", 0) if seed is None else seed
    return DataOptions(
        text=config.text or ",".join(found.get("text", ())) or None,
        label=config.label or found.get("label"),
        dev_share=share,
        split_seed=seed or 0,
        metric=config.metric or found.get("metric"),
        labels=tuple(found.get("labels", ())) or None,
        unanswerable=found.get("unanswerable"),
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
