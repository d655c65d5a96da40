"""Dev scores of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mpjax import models, plugins, sparse, tasks
from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.recorded import is_run
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.files import read_object, shown
from mpjax.log import log
from mpjax.models import Model
from mpjax.models.precision import chosen_dtype
from mpjax.outputs import new_file
from mpjax.parallel.sharding import fetch, own_rows, place_batch
from mpjax.runs.class_order import check_order, given_places, untrained
from mpjax.runs.folder import RunDir
from mpjax.runs.opening import load_for_task, model_folder
from mpjax.runs.own_data import check_encoded, fitted_task, moved, on_own_data
from mpjax.runs.progress import bar
from mpjax.tasks.batches import ALL, collect, eval_batches
from mpjax.tasks.scoring import check_destination, predicting
from mpjax.tasks.squad.files import NBEST, NULL_ODDS
from mpjax.tasks.unknown import check_known
from mpjax.training.job import DevSet
from mpjax.training.predict import make_predict
from mpjax.training.prepare import check_fits, check_length, encode

Predict = Callable[[Mapping[str, Any], Mapping[str, Any]], jax.Array]


class Unwritten(InputError):
    """Predictions that the disk refused, with the ``result`` that `evaluate` would have given."""

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Scores a run or a model folder, in percent.

    Returns:
      JSON values: ``model``, ``task``, ``rows``, ``max_length``, ``metric`` (the primary one) and
      ``score``, a dict with the primary one first.

    Raises:
      InputError: an unfinished run, a model without a trained head for the task, bad data, or
        predictions that exist or that the disk refuses (`Unwritten`).
    """
    if config.runtime == "sparse":
        sparse.check_installed()
    plugins.load(config.plugin)
    config, recorded = _completed(config)
    if not config.task:
        raise InputError("--task is missing: a model folder does not say what to score it on")
    task = fitted_task(config, recorded)
    places = given_places(task, config.labels)
    able = predictions = None
    if config.predictions is not None:
        able, predictions = predicting(task), Path(config.predictions).expanduser()
        check_destination(able, predictions)
        for prefix in ("", NBEST, NULL_ODDS) if task.head == "qa" else ("",):
            file = predictions.with_name(prefix + predictions.name)
            new_file(file, overwrite=config.overwrite, named="--predictions")
    folder = model_folder(config.model)
    width = config.max_length or TrainConfig.max_length
    check_length(folder, width)
    found = task.read(config.data, "dev")
    rows = found[: config.limit]
    tokenizer = models.load_tokenizer(folder)
    encoded = encode(task, rows, tokenizer, width, config.cache)
    check_known(encoded, tokenizer, "rows")
    if not (on_own_data(config, recorded) and moved(task, found, recorded, config.data)):
        check_encoded(config, recorded, encoded, width)
    dtype = "float32" if config.runtime == "sparse" else chosen_dtype(config.dtype)
    loaded = load_for_task(folder, task, dtype, seed=0, threshold=config.threshold, places=places)
    if loaded.fresh:
        why = untrained(loaded, task, str(folder))
        raise InputError(f"{why}; fine-tune it first with: mpjax train")
    check_fits(loaded, encoded)
    dev = DevSet(task, rows, encoded)
    logits = dev_logits(*_prediction(loaded, config.runtime), dev, config.batch_size)
    if task.head == "classification":
        check_order(loaded, task, logits, encoded.arrays["labels"], str(folder))
    result = {
        "model": config.model,
        "task": config.task,
        "rows": len(rows),
        "max_length": width,
        "metric": task.metric,
    }
    result["score"] = task.score(rows, encoded, logits)
    if able is not None and predictions is not None:
        try:
            able.write_predictions(predictions, rows, encoded, logits)
        except InputError as error:  # a disk that has filled up meanwhile
            raise Unwritten(str(error), result) from error
    return result


def _prediction(model: Model, runtime: str) -> tuple[Predict, Any]:
    """Function to predict with, and the parameters that it takes."""
    if runtime == "dense":
        return make_predict(model.module), jax.device_put(model.params)
    run = sparse.sparse_model(model)
    log.info("%s", run.summary)
    return lambda _, batch: jnp.asarray(run(batch)), {}


def _completed(config: EvaluateConfig) -> tuple[EvaluateConfig, dict[str, Any]]:
    """Config with task, data and length taken from a run, where they are not given, and its record.

    The record is that of `config.json`, {} for a model folder.
    """
    if not is_run(config.model):
        return config, {}
    path = RunDir(Path(config.model)).config
    recorded = read_object(path)
    length = recorded.get("max_length")
    if not isinstance(recorded.get("task"), str) or not isinstance(length, int):
        raise InputError(f"{path} does not say the task and --max-length of the run; it is damaged")
    if config.task is None:
        _check_plugin(path, recorded)
    no_data = config.data is None and config.task in (None, recorded["task"])
    completed = replace(
        config,
        task=config.task or recorded["task"],
        data=recorded.get("data") if no_data else config.data,
        max_length=config.max_length or length,
        repair=config.repair or (no_data and recorded.get("repair") is True),
    )
    return completed, recorded


def _check_plugin(path: Path, recorded: Mapping[str, Any]) -> None:
    """Raises `InputError` unless the task of a run is ours, or of the plugin that the run names.

    A plugin is code: it is imported where the user or an installed package names it, never because
    a run does, which may be a stranger's.
    """
    name, plugin = recorded["task"], str(recorded.get("plugin") or "")
    if not plugin or (name in tasks.names() and plugins.provider("task", name) is None):
        return
    if not plugins.search("task", name):
        hint = plugins.hint("task", plugin)
        raise InputError(f"{path}: the task {shown(name)} is not known here{hint}")
    other = plugins.provider("task", name)
    if other not in plugins.split(plugin):
        raise InputError(
            f"{path}: the task {shown(name)} was of the plugin {shown(plugin)}, and here it is of "
            f"{other}; give --plugin {shown(plugin)}, or --task {name} to use the one at hand"
        )


def score_dev(
    predict: Predict,
    params: Mapping[str, Any],
    dev: DevSet,
    batch_size: int,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """Dev scores of plain parameters; see `dev_logits`."""
    return dev.task.score(dev.rows, dev.encoded, dev_logits(predict, params, dev, batch_size, mesh))


def dev_logits(
    predict: Predict,
    params: Mapping[str, Any],
    dev: DevSet,
    batch_size: int,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """Logits of plain parameters for every row of a dev set, as `Task.score` takes them.

    Args:
      predict: from `make_predict`.
      params: parameters with masks applied.
      dev: dev set.
      batch_size: rows per step.
      mesh: mesh of the parameters; None = the default device.
    """
    part = ALL if mesh is None else own_rows(mesh, batch_size)

    def outputs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        waiting: tuple[np.ndarray, Any] | None = None
        batches = eval_batches(dev.encoded, batch_size, dev.lengths, part)
        steps = -(-len(dev.encoded) // batch_size)
        for batch, rows in bar(batches, steps, "evaluating"):
            running = rows, predict(params, batch if mesh is None else place_batch(batch, mesh))
            if waiting is not None:  # fetch a batch while the device computes the next one
                yield waiting[0], fetch(waiting[1])
            waiting = running
        if waiting is not None:
            yield waiting[0], fetch(waiting[1])

    return collect(dev.encoded, outputs())
