"""Teacher logits for distillation, computed once per training set.

The published trainer runs the teacher in every step of every epoch. Without dropout its logits do
not change, so they are computed before the first step and cached, an array like the labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mpjax.arrays import SUFFIX, damaged, keep, kept
from mpjax.errors import InputError
from mpjax.locks import held
from mpjax.log import log, without_cache
from mpjax.models import Model
from mpjax.parallel.consensus import everywhere, first
from mpjax.parallel.sharding import fetch, make_mesh, own_rows, place, place_batch
from mpjax.runs.class_order import check_order, untrained
from mpjax.runs.progress import bar
from mpjax.tasks import cache as data_cache
from mpjax.tasks.base import TEACHER_LOGITS, Encoded, Row, Task
from mpjax.tasks.batches import Batches, collect, eval_batches
from mpjax.training.predict import INPUTS, make_predict

if TYPE_CHECKING:
    from mpjax.tasks.base import Tokenizer

ROWS = 4096  # of logits looked at together
PER_TOKEN = ("tokens", "qa")  # heads whose logits belong to tokens


@dataclass(frozen=True)
class Teacher:
    """Fine-tuned model, and the training rows encoded by its tokenizer."""

    model: Model
    encoded: Encoded
    key: str  # hash of rows, tokenizer and settings

    @cached_property
    def digest(self) -> str:
        """Hash of every parameter, 32 hex digits."""
        digest = hashlib.sha256()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.model.params):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).data)
        return digest.hexdigest()[:32]


def prepare_teacher(
    model: Model,
    tokenizer: Tokenizer,
    student_tokenizer: Tokenizer,
    task: Task,
    rows: Sequence[Row],
    encoded: Encoded,
    cache: Path | None = None,
) -> Teacher:
    """Teacher for the rows of the student's training set.

    Classes belong to rows, so the teacher may have another vocabulary; spans belong to tokens, so
    for question answering the vocabulary must be the student's.

    Raises:
      InputError: no trained head for the task, or another vocabulary for question answering.
    """
    if task.head == "mlm":
        raise InputError(f"--teacher does not apply to {task.name}: it has no labels to soften")
    if model.fresh:
        raise InputError(
            f"{untrained(model, task, f'--teacher {model.folder}')}; fine-tune it first with: "
            "mpjax train --method dense"
        )
    same = data_cache.tokenizer_text(tokenizer) == data_cache.tokenizer_text(student_tokenizer)
    if not same and task.head in PER_TOKEN:
        raise InputError(
            f"--teacher {model.folder} has another tokenizer than --model; outputs belong to "
            f"tokens, so {task.name} needs a teacher with the same vocabulary"
        )
    if not same:
        encoded = data_cache.encode(task, rows, tokenizer, encoded.width, cache and cache / "data")
    return Teacher(model, encoded, data_cache.key(task, rows, tokenizer, encoded.width))


def teacher_logits(
    teacher: Teacher, batch_size: int, cache: Path | None = None, mesh: Mesh | None = None
) -> np.ndarray:
    """Logits of every training row, float32: (n, classes), (n, L, classes) or (n, L, 2) by head.

    Args:
      batch_size: rows per step; it does not change the result beyond rounding.
      mesh: devices to compute on, which must split `batch_size`; None = the default device.
      cache: folder for them, under a name derived from the teacher's weights and the data.
    """
    if cache is None:
        return _predict(teacher, batch_size, mesh)
    path = cache / f"teacher-{_weights(teacher)}-{teacher.key}{SUFFIX}"
    seen, known = _stamp(path), _load(path, teacher)
    if everywhere(known is not None):  # all processes compute if one must
        assert known is not None
        return known
    with _alone(path):
        if jax.process_count() == 1 and _stamp(path) != seen:  # written meanwhile by another
            known = _load(path, teacher)
            if known is not None:
                return known
        logits = _predict(teacher, batch_size, mesh)
        if first() and keep(path, {TEACHER_LOGITS: logits}):
            mapped = kept(path)  # leaves the memory of the logits to the training
            logits = logits if mapped is None else mapped[TEACHER_LOGITS]
    return logits


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits for another process that computes the same entry.

    Processes that train together do not wait for others, since all of them must go on at once.
    """
    with ExitStack() as stack:
        if jax.process_count() == 1:
            try:
                what = f"the teacher logits {path.name}"
                stack.enter_context(held(path.with_suffix(".lock"), what, wait=True))
            except InputError as error:  # of the disk: then they are not kept either
                without_cache(error)
        yield


def with_teacher_logits(
    batches: Batches, teacher: Teacher, task: Task, batch_size: int, cache: Path | None, mesh: Mesh
) -> Batches:
    """Batches with ``teacher_logits`` among their arrays; arguments as of `teacher_logits`."""
    logits = teacher_logits(teacher, batch_size, cache and cache / "teacher", mesh)
    if task.head == "classification" and first():
        gold = batches.encoded.arrays["labels"]
        check_order(teacher.model, task, logits, gold, f"--teacher {teacher.model.folder}")
    return batches.with_array(TEACHER_LOGITS, logits)


def _predict(teacher: Teacher, batch_size: int, mesh: Mesh | None) -> np.ndarray:
    mesh = make_mesh({"data": 1}, jax.devices()[:1]) if mesh is None else mesh
    params = place(teacher.model.params, mesh)
    encoded, predict = teacher.encoded, make_predict(teacher.model.module)
    # The loss of a span runs over the padding too, and the student's batch of a row may be longer
    # than the teacher's, so question answering is computed at full width.
    lengths = () if teacher.model.head in PER_TOKEN else None
    log.info("computing teacher logits of %d training rows, once", len(encoded))
    steps = -(-len(encoded) // batch_size)
    part = own_rows(mesh, batch_size)
    batches = bar(eval_batches(encoded, batch_size, lengths, part), steps, "teacher")
    results: Any = (
        (rows, fetch(predict(params, place_batch(_inputs(batch), mesh)))) for batch, rows in batches
    )
    return collect(encoded, results).astype(np.float32, copy=False)


def _inputs(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: batch[name] for name in INPUTS if name in batch}


def _weights(teacher: Teacher) -> str:
    """Hash of what logits depend on beside the rows: parameters, config and compute dtype."""
    model = teacher.model
    words = f"{teacher.digest} {model.config!r} {jnp.dtype(model.module.dtype)}"
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Identity of a file's content; None for no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _load(path: Path, teacher: Teacher) -> np.ndarray | None:
    """Logits of a file, if they are those of this teacher and data."""
    found = kept(path)
    if found is None:
        return None
    logits, encoded = found.get(TEACHER_LOGITS, np.zeros(0)), teacher.encoded
    rows, config = len(encoded), teacher.model.config
    each = 2 if teacher.model.head == "qa" else config.num_labels
    per_token = teacher.model.head in PER_TOKEN
    expected = (rows, encoded.width, each) if per_token else (rows, each)
    if logits.shape != expected or logits.dtype != np.float32:
        damaged(path, f"{logits.dtype} {logits.shape} where float32 {expected} are expected")
        return None
    if not _finite(logits):
        damaged(path, "some logits are not finite")
        return None
    return logits


def _finite(logits: np.ndarray) -> bool:
    """Whether all logits are finite; in blocks, since they may be larger than memory."""
    return all(np.isfinite(logits[i : i + ROWS]).all() for i in range(0, len(logits), ROWS))
