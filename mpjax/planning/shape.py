"""Model of a plan: its config, and shapes in place of parameters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from mpjax import models
from mpjax.errors import InputError
from mpjax.files import read_object
from mpjax.models import EncoderConfig, Model
from mpjax.models.families import family_of
from mpjax.models.hf.weights import shapes
from mpjax.runs.opening import MODEL_HEADS
from mpjax.tasks.base import Task

# Published sizes of well-known models, so that a plan needs no file: family, and differences from
# the defaults of its config.
_LARGE = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096,
}  # fmt: skip
_ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
KNOWN: dict[str, tuple[str, dict[str, int]]] = {
    "bert-base-uncased": ("bert", {}),
    "bert-large-uncased": ("bert", _LARGE),
    "roberta-base": ("roberta", _ROBERTA),
    "roberta-large": ("roberta", _ROBERTA | _LARGE),
    "distilbert-base-uncased": ("distilbert", {}),
}


def read_shape(name: str) -> EncoderConfig:
    """Config of a model folder, of a ``config.json`` file, or of a model in `KNOWN`.

    Raises:
      InputError: none of the three, or an unsupported config.
    """
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".json":
        data = read_object(path)
        return _config(str(data.get("model_type")), data)
    if path.exists():
        return models.read_config(path)
    short = name.rpartition("/")[2]
    if short in KNOWN and name.count("/") <= 1:
        return _config(*KNOWN[short])
    raise InputError(
        f"--model {name} is no folder, no config.json, and none of the well-known models "
        f"{', '.join(KNOWN)}"
    )


def _config(family: str, data: dict[str, Any]) -> EncoderConfig:
    return family_of(family).config(data)


def abstract_model(config: EncoderConfig, task: Task, dtype: str) -> Model:
    """Model as `mpjax train` would load it for a task, with shapes in place of parameters."""
    head = MODEL_HEADS[task.head]
    labels = ("LABEL_0",) if task.head == "regression" else task.labels
    if labels:
        config = dataclasses.replace(config, id2label=tuple(labels))
    flat = {
        path: jax.ShapeDtypeStruct(shape, jnp.float32)
        for path, shape in shapes(config, head).items()
    }
    module = models.encoder(config, head, dtype, jnp.float32)
    return models.Model(config, module, unflatten_dict(flat, sep="/"), None, (), head)
