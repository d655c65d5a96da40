"""Encoder matrices of a run: at its end, before it, and as its last checkpoint has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mpjax.config.checks import DENSE
from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models import dense_shapes, read_config
from mpjax.models.hf.tensors import read_tensors
from mpjax.pages.reading.record import Run
from mpjax.report import EncoderDensity, measure
from mpjax.report.density import encoder_matrix
from mpjax.runs.checkpoints import read_parts
from mpjax.runs.opening import model_folder

Key = tuple[int, str]  # layer, short type
Matrices = Mapping[Key, np.ndarray]  # (outputs, inputs) each

_PATH = re.compile(r".*/layer_(\d+)/(attention/(?:query|key|value|output)|ffn/(?:in|out))/kernel")
_TYPES = {"attention/query": "query", "attention/key": "key", "attention/value": "value",
          "attention/output": "attn out", "ffn/in": "ffn in", "ffn/out": "ffn out"}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """Encoder matrices of a run; empty where they are not at hand, which the notes say.

    Attributes:
      final: of the finished model, zeros where weights are pruned.
      before: of the model that the run began with.
      unmasked: last checkpoint, pruned weights included.
      scores: last checkpoint, in the shapes of the kernels or of the structure.
      head_size: outputs of one attention head, 0 if unknown.
    """

    density: EncoderDensity | None = None
    final: Matrices = field(default_factory=dict)
    before: Matrices = field(default_factory=dict)
    unmasked: Matrices = field(default_factory=dict)
    scores: Matrices = field(default_factory=dict)
    head_size: int = 0
    notes: tuple[str, ...] = ()


def read_weights(run: Run) -> Weights:
    """Reads what a run folder and this machine have; no network, and no error for what is missing.

    A dense run has no scores; its checkpoint is not read.
    """
    if not run.folder.model.is_dir():
        return Weights(notes=("No model yet, so nothing is shown of its weights.",))
    notes = list[str]()
    try:
        config = read_config(run.folder.model)
        tensors = read_tensors(run.folder.model)[1]
        density = measure(tensors, dense_shapes(config))
    except InputError as error:
        return Weights(notes=(f"The model cannot be read: {error}.",))
    unmasked, scores = _checkpoint(run, notes)
    return Weights(
        density,
        _matrices(tensors),
        _before(run, notes),
        unmasked,
        scores,
        config.hidden_size // config.num_attention_heads,
        tuple(notes),
    )


def _matrices(tensors: Mapping[str, np.ndarray]) -> dict[Key, np.ndarray]:
    found = ((encoder_matrix(name), tensor) for name, tensor in tensors.items())
    return {key: tensor for key, tensor in found if key is not None}


def _before(run: Run, notes: list[str]) -> Matrices:
    """Matrices of the model that a run began with, if it is on this machine."""
    start = run.option("fill_from") or run.option("model")
    try:
        folder = _on_this_machine(start)
        if folder is not None:
            return _matrices(read_tensors(folder)[1])
        notes.append(f"The model before training ({shown(start)}) is not on this machine.")
    except InputError as error:
        notes.append(f"The model before training cannot be read: {error}.")
    return {}


def _on_this_machine(name: str) -> Path | None:
    """Folder of a local model or of one in the hub's cache; asks no network."""
    if not name:
        return None
    if Path(name).expanduser().exists():
        return model_folder(Path(name).expanduser())
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _checkpoint(run: Run, notes: list[str]) -> tuple[Matrices, Matrices]:
    """Unmasked weights and scores of the last checkpoint, if the run has kept one."""
    if run.option("method") == DENSE or not run.folder.checkpoints.is_dir():
        return {}, {}
    if jax.process_count() > 1:  # a checkpoint is read by all processes together, a page by one
        notes.append("Scores and pruned weights are left out; for them give: mpjax report RUN.")
        return {}, {}
    try:
        state = read_parts(run.folder.checkpoints, _PATH.fullmatch)
    except InputError as error:
        notes.append(f"The last checkpoint cannot be read: {error}.")
        return {}, {}
    return _kernels(state, "params"), _kernels(state, "scores")


def _kernels(state: Mapping[str, Any], part: str) -> dict[Key, np.ndarray]:
    """Matrices of a part of a state by layer and type, (outputs, inputs)."""
    found = {}
    for path, array in state.items():
        match = _PATH.fullmatch(path)
        if match is not None and path.startswith(f"{part}/") and np.ndim(array) == 2:
            found[int(match[1]), _TYPES[match[2]]] = np.asarray(array).T
    return found
