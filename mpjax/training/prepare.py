"""From a config to a job: reads data and model, and finds every mistake on the way.

Nothing is written and nothing is compiled here, so a mistake leaves no run behind.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mpjax import models, tasks
from mpjax.config.checks import check_no_split
from mpjax.config.data import data_options
from mpjax.config.freeze import HEAD, frozen_groups
from mpjax.config.length import run_length, shortened
from mpjax.config.recorded import as_dict, is_run
from mpjax.config.train import TrainConfig
from mpjax.errors import InputError
from mpjax.log import log
from mpjax.models import Model
from mpjax.parallel.consensus import first
from mpjax.parallel.mesh import batch_parts, choose_mesh
from mpjax.pruning import Pruning, Tree, flatten
from mpjax.pruning.published import RULE_OF
from mpjax.runs.cache import cache_folder
from mpjax.runs.class_order import untrained
from mpjax.runs.folder import RunDir
from mpjax.runs.label_words import load_to_train
from mpjax.runs.opening import load_for_task, model_folder
from mpjax.tasks import cache as data_cache
from mpjax.tasks.base import OWN, Encoded, Row, Task
from mpjax.tasks.batches import Batches
from mpjax.tasks.masking import MaskedBatches, MaskSettings
from mpjax.tasks.own.weights import class_weights
from mpjax.tasks.repairing import with_repair
from mpjax.tasks.unknown import check_known
from mpjax.trackers import chosen
from mpjax.training.build import (
    make_learning_rates,
    make_loss,
    make_optimizers,
    make_pruning,
    movement_note,
    optimizer_config,
    rate_note,
)
from mpjax.training.filling import fill
from mpjax.training.job import Cadence, DevSet, Inputs, Job, Lengths, Mishaps
from mpjax.training.state import ScoreInit
from mpjax.training.teacher import Teacher, prepare_teacher

NOTED_ROWS = 20_000  # tokenizing more takes seconds, so it is announced


def prepare(config: TrainConfig) -> Job:
    """Reads data and model of a resolved config, and makes everything that its run needs.

    Raises:
      InputError: a file, record, label, model folder or option that is wrong, or sizes that do
        not fit together.
    """
    return assemble(config, read_inputs(config))


def _start_of(config: TrainConfig) -> Path:
    """Folder of the model that a run begins with."""
    if config.fill_from:
        return model_folder(config.model)
    if is_run(config.model):
        raise InputError(
            f"--model {config.model} is a run; give the model that it began with, or "
            f"{RunDir(Path(config.model)).model}, the pruned one, once it is finished"
        )
    return models.local_folder(config.model)


def read_inputs(config: TrainConfig) -> Inputs:
    """Data, model and teacher of a resolved config; errors as in `prepare`."""
    mesh = choose_mesh(config)
    task = with_repair(tasks.get(config.task), config.repair)
    if config.task not in OWN:
        share, seed = config.dev_share, config.split_seed
        check_no_split(
            config.task,
            None if share == TrainConfig.dev_share else share,
            None if seed == TrainConfig.split_seed else seed,
        )
    task = task.fit(config.data, data_options(config))
    folder = _start_of(config)
    check_length(folder, config.max_length)
    if config.teacher:
        check_length(model_folder(config.teacher), config.max_length)
    rows = limited(task.read(config.data, "train"), config.limit_train)
    dev_rows = task.read(config.data, "dev")[: config.limit_eval]
    tokenizer = models.load_tokenizer(folder)
    if len(rows) > NOTED_ROWS:
        log.info("tokenizing %d training and %d dev rows", len(rows), len(dev_rows))
    encoded = encode(task, rows, tokenizer, config.max_length, config.cache)
    dev_encoded = encode(task, dev_rows, tokenizer, config.max_length, config.cache)
    if first():
        check_known(encoded, tokenizer, "training rows")
        check_known(dev_encoded, tokenizer, "dev rows")
    if config.batch_size > len(encoded):
        raise InputError(
            f"--batch-size {config.batch_size} is more than the {len(encoded)} training rows; "
            "lower it"
        )
    buckets = () if config.single_length else None
    batches = make_batches(task, encoded, tokenizer, config, buckets)
    dev = DevSet(task, dev_rows, dev_encoded, buckets)
    length = run_length(config, batches.steps_per_epoch)  # refuses warm-ups that do not fit
    for note in shortened(config, length) if first() else ():
        log.warning("%s", note)
    model = load_to_train(config, folder, task, tokenizer)
    if model.other_labels:
        log.warning("%s; a new head is drawn", untrained(model, task, f"--model {config.model}"))
    held = None
    if config.fill_from:
        model, held = fill(Path(config.fill_from), model)
    model = as_computed(model, config)
    for part in (encoded, dev.encoded):
        check_fits(model, part)
    teacher = _read_teacher(config, task, rows, encoded, tokenizer) if config.teacher else None
    check_trainable(model)
    check_head(model, config, task)
    pruning = make_pruning(config, model.config.head_size)
    scores = starting_scores(model, config, pruning)
    notes = [rate_note(config, model.config.hidden_size)]
    notes += [movement_note(config, length, model.params)] if scores is None else []
    for note in filter(None, notes if first() else ()):
        log.warning("%s", note)
    weights = class_weights(task, encoded, config.class_weights)
    return Inputs(task, model, batches, dev, mesh, held, teacher, scores, weights)


def assemble(config: TrainConfig, inputs: Inputs) -> Job:
    """Job of a resolved config, on inputs of a config that may differ in hyperparameters."""
    length = run_length(config, inputs.batches.steps_per_epoch)
    pruning = make_pruning(config, inputs.model.config.head_size)
    parts, settings = batch_parts(inputs.mesh), optimizer_config(config, length)
    return Job(
        inputs=inputs,
        method=config.method,
        pruning=pruning,
        optimizer=make_optimizers(config, pruning, length, inputs.held),
        hyperparameters=settings.hyperparameters(),
        learning_rates=make_learning_rates(config, length),
        loss=make_loss(config, inputs.task.head, inputs.class_weights),
        length=length,
        cadence=Cadence(config.log_every, config.eval_every, config.checkpoint_every),
        mishaps=Mishaps(
            config.keep, config.strict, config.max_skipped if config.on_nan == "skip" else 0
        ),
        seed=config.seed,
        score_init=ScoreInit(config.mask_init or "constant", config.mask_scale),
        frozen=settings.frozen,
        accumulate=config.accumulate,
        eval_batch=-(-config.eval_batch_size // parts)
        * parts,  # a multiple of what the mesh splits
        cache=cache_folder(config.cache),
        trackers=chosen(config.report_to),
        config=as_dict(config),
    )


def _read_teacher(
    config: TrainConfig, task: Task, rows: Sequence[Row], encoded: Encoded, tokenizer: Any
) -> Teacher:
    source = model_folder(str(config.teacher))
    model = load_for_task(source, task, config.dtype, config.seed)
    own = models.load_tokenizer(source)
    cache = cache_folder(config.cache)
    teacher = prepare_teacher(model, own, tokenizer, task, rows, encoded, cache)
    check_fits(teacher.model, teacher.encoded)
    return teacher


def as_computed(model: Model, config: TrainConfig) -> Model:
    """Model with `--remat` and `--scan-layers`; `InputError` if its layers cannot be scanned."""
    how: dict[str, Any] = {"remat": config.remat, "scan_layers": config.scan_layers}
    module = model.module.clone(**how)
    if config.scan_layers:
        jax.eval_shape(module.apply, {"params": model.params}, np.ones((1, 1), np.int32))
    return dataclasses.replace(model, module=module)


def make_batches(
    task: Task, encoded: Encoded, tokenizer: Any, config: TrainConfig, lengths: Lengths
) -> Batches:
    """Training batches; masked language modelling masks other words in every step."""
    if task.head != "mlm":
        return Batches(encoded, config.batch_size, config.seed, lengths)
    settings = MaskSettings.of(tokenizer, getattr(task, "mask_share", 0.15))
    return MaskedBatches(encoded, config.batch_size, config.seed, settings, lengths)


def limited(rows: Sequence[Row], limit: int | None) -> list[Row]:
    """First `limit` rows after ``random.Random(0).shuffle``; all rows in file order for None."""
    chosen = list(rows)
    if limit is not None and limit < len(chosen):
        random.Random(0).shuffle(chosen)
        del chosen[limit:]
    return chosen


def encode(
    task: Task, rows: Sequence[Row], tokenizer: Any, max_length: int, cache: str | None
) -> Encoded:
    """Encoded rows, from the cache if they were encoded before."""
    folder = cache_folder(cache)
    return data_cache.encode(task, rows, tokenizer, max_length, folder and folder / "data")


def check_length(folder: Path, max_length: int) -> None:
    """Raises `InputError` for more tokens than positions; before rows are tokenized to them."""
    positions = models.read_config(folder).max_length
    if max_length > positions:
        raise InputError(
            f"--max-length {max_length} is more than the {positions} positions for tokens of the "
            f"model in {folder}; lower it"
        )


def check_fits(model: Model, encoded: Encoded) -> None:
    """Raises `InputError` for ids beyond the tables of the model.

    jax would not fail on a look-up beyond a table: it takes the last row.
    """
    config = model.config
    sizes = {"input_ids": ("vocab_size", config.vocab_size)}
    if config.token_types > 1:  # a model with one token type ignores them
        sizes["token_type_ids"] = ("type_vocab_size", config.token_types)
    for name, (key, size) in sizes.items():
        largest = int(encoded.arrays[name].max(initial=0))
        if largest >= size:
            raise InputError(
                f"the tokenizer of {model.folder} makes {name} up to {largest}, but {key} of its "
                f"config.json is {size}; tokenizer and model do not belong together"
            )


def check_trainable(model: Model) -> None:
    """Raises `InputError` for empty matrices, which rules and checkpoints cannot handle."""
    c = model.config
    if not all(c.heads(i) and c.units(i) for i in range(c.num_hidden_layers)):
        raise InputError(
            f"{model.folder} has layers without heads or FFN units and cannot be trained further; "
            "train the model that it was shrunk from, or the dense one that mpjax export makes"
        )


def check_head(model: Model, config: TrainConfig, task: Task) -> None:
    """Raises `InputError` for a new head, which is random, that `--freeze` would not train."""
    if model.fresh and HEAD in frozen_groups(config):
        words = (
            ", or give --label-words for a masked-LM head" if task.head == "classification" else ""
        )
        raise InputError(
            f"--freeze {config.freeze}: {model.folder} has no trained head for {config.task} "
            f"(missing: {', '.join(model.fresh)}), and a random one would stay so; fine-tune it "
            f"first with --method dense, and give the folder model of that run as --model{words}"
        )


def starting_scores(model: Model, config: TrainConfig, pruning: Pruning | None) -> Tree | None:
    """Scores of the training checkpoint that a run starts from; None for a plain model.

    Raises:
      InputError: a checkpoint of another method or structure, or a structure that does not divide
        the kernels.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    if pruning is not None:
        shapes = {group.path: group.shape for group in pruning.groups(model.params)}
    if model.stored_scores is None:
        return None
    method, scores = model.stored_scores.method, model.stored_scores.scores
    if RULE_OF[method] != config.method:
        raise InputError(
            f"--model {config.model} is a training checkpoint of pruning_method {method}, which "
            f"--method {RULE_OF[method]} continues, not {config.method}; to start anew from its "
            "masked weights, give what mpjax export makes of it"
        )
    if not scores:
        return None
    found = {path: leaf.shape for path, leaf in flatten(scores).items()}
    if found != shapes:
        path = next((path for path in found if found[path] != shapes.get(path)), "")
        raise InputError(
            f"--model {config.model} holds scores of other blocks than --structure "
            f"{config.structure} has: {path} is {found.get(path)} there, not {shapes.get(path)}"
        )
    log.info("starting from the scores of %s", config.model)
    return scores
