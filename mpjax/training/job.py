"""From a config to everything a run needs, with every mistake found on the way.

Nothing is written and nothing is compiled here: what goes wrong, goes wrong before the run exists.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpjax import tasks
from mpjax.errors import InputError
from mpjax.tasks import cache as data_cache
from mpjax.tasks.batches import Batches
from mpjax.training.cache import cache_folder
from mpjax.training.config import Plan, TrainConfig, make_rule, plan
from mpjax.training.filling import Masks, fill
from mpjax.training.masking import MaskedBatches
from mpjax.training.mesh import batch_parts, choose_mesh
from mpjax.training.plain import load_plain, starting_scores
from mpjax.training.progress import log
from mpjax.training.rundir import RunDir, is_run
from mpjax.training.structured import make_structure
from mpjax.training.teacher import Teacher, prepare_teacher

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from mpjax.models import Model
    from mpjax.pruning import Rule, Structure, Tree
    from mpjax.tasks.base import Encoded, Row, Task

NOTED_ROWS = 20_000  # more take long enough to tokenize for a note
Lengths = tuple[int, ...] | None
# The head of the model that serves each kind of task: a regression is a classifier of one output.
MODEL_HEADS = {"classification": "classification", "regression": "classification", "qa": "qa",
               "mlm": "mlm"}  # fmt: skip


@dataclass(frozen=True)
class DevSet:
    """What a model is evaluated on."""

    task: Task
    rows: list[Row]
    encoded: Encoded
    lengths: Lengths = None  # of batches; None = the usual ones


@dataclass(frozen=True)
class Job:
    """A run, ready to start: data and pretrained parameters on the host, rule, lengths, mesh."""

    config: TrainConfig
    task: Task
    model: Model
    batches: Batches
    dev: DevSet
    rule: Rule | None
    plan: Plan
    mesh: Mesh
    structure: Structure
    held: Masks | None = None  # outside of them a filled model is zero and stays so
    teacher: Teacher | None = None
    scores: Tree | None = None  # to start from, of a training checkpoint

    @property
    def eval_batch(self) -> int:
        """Rows per step of evaluation: those asked for, rounded up to what the mesh splits."""
        parts = batch_parts(self.mesh)
        return -(-self.config.eval_batch_size // parts) * parts

    @property
    def derived(self) -> dict[str, Any]:
        """Sizes that followed from the data, for `config.json`."""
        return {
            "total_steps": self.plan.total_steps,
            "warmup_steps": self.plan.warmup_steps,
            "steps_per_epoch": self.batches.steps_per_epoch,
            "train_rows": len(self.batches.encoded),
            "dev_rows": len(self.dev.encoded),
        }


def prepare(config: TrainConfig) -> Job:
    """Reads data and model of a resolved config.

    Raises:
      InputError: a file, record, label, model folder or option that is wrong, or sizes that do
        not fit together.
    """
    from mpjax import models
    from mpjax.pruning import select

    mesh = choose_mesh(config)
    task = tasks.get(config.task)
    folder = model_folder(config.model) if config.fill_from else models.resolve(config.model)
    rows = limited(task.read(config.data, "train"), config.limit_train)
    dev_rows = task.read(config.data, "dev")[: config.limit_eval]
    tokenizer = models.load_tokenizer(folder)
    if len(rows) > NOTED_ROWS:
        log.info("tokenizing %d training and %d dev rows", len(rows), len(dev_rows))
    encoded = encode(task, rows, tokenizer, config.max_length, config.cache)
    dev_encoded = encode(task, dev_rows, tokenizer, config.max_length, config.cache)
    if config.batch_size > len(encoded):
        raise InputError(
            f"--batch-size {config.batch_size} is more than the {len(encoded)} training rows; "
            "lower it"
        )
    buckets = () if config.single_length else None
    batches = make_batches(task, encoded, tokenizer, config, buckets)
    dev = DevSet(task, dev_rows, dev_encoded, buckets)
    sizes = plan(config, batches.steps_per_epoch)
    model = load(folder, task, config.dtype, config.seed, masked=False)
    held = None
    if config.fill_from:
        model, held = fill(Path(config.fill_from), model)
    model = run_as_asked(model, config)
    for part in (encoded, dev.encoded):
        check_fits(model, part)
    teacher = None
    if config.teacher:
        source = model_folder(config.teacher)
        teacher = prepare_teacher(
            load(source, task, config.dtype, config.seed),
            models.load_tokenizer(source), tokenizer, task, rows, encoded,
        )  # fmt: skip
        check_fits(teacher.model, teacher.encoded)
    structure = make_structure(config, model.config.head_size)
    check_trainable(model)
    groups = structure.groups(select(model.params, models.PRUNABLE))  # refuses what cannot divide
    scores = starting_scores(model, config, {group.path: group.shape for group in groups})
    return Job(
        config, task, model, batches, dev, rule=make_rule(config), plan=sizes, mesh=mesh,
        structure=structure, held=held, teacher=teacher, scores=scores,
    )  # fmt: skip


def run_as_asked(model: Model, config: TrainConfig) -> Model:
    """The model with `--remat` and `--scan-layers`, refused where its layers cannot be scanned."""
    import jax
    import numpy as np

    how: dict[str, Any] = {"remat": config.remat, "scan_layers": config.scan_layers}
    module = model.module.clone(**how)
    if config.scan_layers:
        jax.eval_shape(module.apply, {"params": model.params}, np.ones((1, 1), np.int32))
    return dataclasses.replace(model, module=module)


def make_batches(
    task: Task, encoded: Encoded, tokenizer: Any, config: TrainConfig, lengths: Lengths
) -> Batches:
    """Training batches; those of masked language modelling hide other words in every step."""
    if task.head != "mlm":
        return Batches(encoded, config.batch_size, config.seed, lengths)
    return MaskedBatches(
        encoded,
        config.batch_size,
        config.seed,
        lengths,
        special=tokenizer.all_special_ids,
        mask_id=tokenizer.mask_token_id,
        vocab_size=len(tokenizer),
        share=getattr(task, "mask_share", 0.15),
    )


def limited(rows: Sequence[Row], limit: int | None) -> list[Row]:
    """The first `limit` rows after ``random.Random(0).shuffle``; all in file order without one."""
    chosen = list(rows)
    if limit is not None and limit < len(chosen):
        random.Random(0).shuffle(chosen)
        del chosen[limit:]
    return chosen


def encode(
    task: Task, rows: Sequence[Row], tokenizer: Any, max_length: int, cache: str | None
) -> Encoded:
    """Rows as arrays, from the cache if they were encoded before."""
    folder = cache_folder(cache)
    return data_cache.encode(task, rows, tokenizer, max_length, folder and folder / "data")


def model_folder(name: str | Path) -> Path:
    """The model folder behind a run folder, a model folder or a hub name."""
    from mpjax import models

    if not is_run(name):
        return models.resolve(name)
    run = RunDir(Path(name))
    if not run.model.is_dir():
        raise InputError(
            f"the run in {name} is not finished, it has no model yet; "
            "give its mpjax train command again to finish it"
        )
    return run.model


def load(
    folder: Path,
    task: Task,
    dtype: str,
    seed: int,
    *,
    masked: bool = True,
    threshold: float | None = None,
) -> Model:
    """The model of a folder with the head that a task needs, its parameters on the host.

    A device gets its own shards of them, and no more, once it is known which those are.

    Args:
      masked: mask the weights of a training checkpoint, see `plain.load_plain`; else leave them
        as they are, with the scores beside them.
    """
    import jax

    from mpjax import models

    labels = ("LABEL_0",) if task.head == "regression" else task.labels or None
    head, options = MODEL_HEADS[task.head], {"labels": labels, "seed": seed, "dtype": dtype}
    if masked:
        model = load_plain(folder, head, threshold=threshold, **options)
    else:
        model = models.load_model(folder, head, keep_scores=True, **options)
    return dataclasses.replace(model, params=jax.device_get(model.params))


def check_fits(model: Model, encoded: Encoded) -> None:
    """`InputError` where arrays ask for entries that the model's tables do not have.

    A look-up beyond a table would not fail in jax: it takes the last row.
    """
    config = model.config
    if encoded.width > config.max_length:
        raise InputError(
            f"--max-length {encoded.width} is more than the {config.max_length} positions for "
            f"tokens of the model in {model.folder}; lower it"
        )
    sizes = {"input_ids": ("vocab_size", config.vocab_size)}
    if config.token_types > 1:  # else the model takes no notice of them
        sizes["token_type_ids"] = ("type_vocab_size", config.token_types)
    for name, (key, size) in sizes.items():
        largest = int(encoded.arrays[name].max(initial=0))
        if largest >= size:
            raise InputError(
                f"the tokenizer of {model.folder} makes {name} up to {largest}, but {key} of its "
                f"config.json is {size}; tokenizer and model do not belong together"
            )


def check_trainable(model: Model) -> None:
    """`InputError` for empty matrices: no rule can choose in them, and no checkpoint holds them."""
    c = model.config
    if not all(c.heads(i) and c.units(i) for i in range(c.num_hidden_layers)):
        raise InputError(
            f"{model.folder} has layers without heads or FFN units and cannot be trained further; "
            "train the model that it was shrunk from, or the dense one that mpjax export makes"
        )


def clip_norm(config: TrainConfig) -> float:
    """`--clip` with its 0, "no clipping", as the norm that nothing exceeds."""
    return config.clip or math.inf
