"""Scores of a model on a task's dev set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks.batches import ALL, collect, eval_batches
from mpjax.tasks.scoring import check_destination, predicting
from mpjax.training.config import TrainConfig
from mpjax.training.job import DevSet, check_fits, encode, load, model_folder
from mpjax.training.rundir import RunDir, is_run, read_json

if TYPE_CHECKING:
    import jax
    from jax.sharding import Mesh

    Predict = Callable[[Mapping[str, Any], Mapping[str, Any]], jax.Array]


def evaluate(
    model: str | Path,
    task: str | None = None,
    data: str | None = None,
    *,
    batch_size: int = 64,
    max_length: int | None = None,
    limit: int | None = None,
    dtype: str = "float32",
    cache: str | None = None,
    predictions: str | Path | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """Scores a run or a model folder, in percent.

    Args:
      model: run folder, model folder or hub name. A run knows its task, data and length, which
        then need not be given.
      task, data: as in `TrainConfig`; max_length: tokens per row, 128 unless a run says otherwise.
      limit: first rows of the dev file only.
      predictions: file to write the predictions to, in the form that `mpjax score` reads; of
        questions, the n best answers go beside it.
      threshold: of the masks of a training checkpoint with scores, see `plain.load_plain`.

    Returns:
      JSON values: ``model``, ``task``, ``rows``, ``max_length``, ``metric`` (the primary one) and
      ``score``, a dict with the primary one first.

    Raises:
      InputError: an unfinished run, a model without a trained head for the task, bad data.
    """
    import jax

    from mpjax import models
    from mpjax.training.step import make_predict

    name = model
    if is_run(model):
        recorded = read_json(RunDir(Path(model)).config)
        data = recorded["data"] if task is None and data is None else data
        task = task or recorded["task"]
        max_length = max_length or recorded["max_length"]
    if not task:
        raise InputError("--task is missing: a model folder does not say what to score it on")
    for option, value in (("--batch-size", batch_size), ("--limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}; it must be at least 1")
    chosen = tasks.get(task)
    if predictions is not None:
        check_destination(predicting(chosen), Path(predictions))
    folder = model_folder(name)
    rows = chosen.read(data, "dev")[:limit]
    width = max_length or TrainConfig.max_length
    encoded = encode(chosen, rows, models.load_tokenizer(folder), width, cache)
    loaded = load(folder, chosen, dtype, seed=0, threshold=threshold)
    if loaded.fresh:
        raise InputError(
            f"{folder} has no trained head for {task} (missing: {', '.join(loaded.fresh)}); "
            "fine-tune it first with: mpjax train"
        )
    check_fits(loaded, encoded)
    dev = DevSet(chosen, rows, encoded)
    params = jax.device_put(loaded.params)
    logits = dev_logits(make_predict(loaded.module), params, dev, batch_size)
    if predictions is None:
        score = chosen.score(rows, encoded, logits)
    else:
        able = predicting(chosen)
        answers = able.write_predictions(Path(predictions), rows, encoded, logits)
        score = able.score_predictions(rows, answers)
    return {
        "model": str(name),
        "task": task,
        "rows": len(rows),
        "max_length": width,
        "metric": chosen.metric,
        "score": score,
    }


def score_dev(
    predict: Predict,
    params: Mapping[str, Any],
    dev: DevSet,
    batch_size: int,
    mesh: Mesh | None = None,
) -> dict[str, float]:
    """The task's scores of plain parameters, see `dev_logits`."""
    return dev.task.score(dev.rows, dev.encoded, dev_logits(predict, params, dev, batch_size, mesh))


def dev_logits(
    predict: Predict,
    params: Mapping[str, Any],
    dev: DevSet,
    batch_size: int,
    mesh: Mesh | None = None,
) -> np.ndarray:
    """Outputs of plain parameters for every row of a dev set, as `Task.score` takes them.

    Args:
      predict: from `step.make_predict`. params: without scores, masks applied.
      mesh: that the parameters are on, and the batches go to; None = the default device.
    """
    from mpjax.training.sharding import fetch, own_rows, place_batch

    part = ALL if mesh is None else own_rows(mesh, batch_size)

    def outputs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        waiting: tuple[np.ndarray, Any] | None = None
        for batch, rows in eval_batches(dev.encoded, batch_size, dev.lengths, part):
            running = rows, predict(params, batch if mesh is None else place_batch(batch, mesh))
            if waiting is not None:  # fetch a batch while the device works on the next one
                yield waiting[0], fetch(waiting[1])
            waiting = running
        if waiting is not None:
            yield waiting[0], fetch(waiting[1])

    return collect(dev.encoded, outputs())
