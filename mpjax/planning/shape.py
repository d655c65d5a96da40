"""The model of a plan: a config and the shapes of its parameters, no weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpjax.errors import InputError

if TYPE_CHECKING:
    from mpjax.models import EncoderConfig, Model
    from mpjax.tasks.base import Task

# Sizes of models that everybody knows, so that a plan needs no file: name -> (family, changes).
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
    """The config of a folder, of a ``config.json`` file, or of a model in `KNOWN`.

    Raises:
      InputError: it is none of the three, or a config that is not supported.
    """
    from mpjax import models

    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".json":
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"--model {name} cannot be read as JSON: {error}") from error
        kind = data.get("model_type") if isinstance(data, dict) else None
        return _config(str(kind), data if isinstance(data, dict) else {})
    if path.exists():
        return models.read_config(path)
    short = name.rpartition("/")[2]
    if short in KNOWN and name.count("/") <= 1:
        return _config(*KNOWN[short])
    raise InputError(
        f"--model {name} is no folder, no config.json, and none of the models whose sizes are "
        f"known here: {', '.join(KNOWN)}"
    )


def _config(family: str, data: dict[str, Any]) -> EncoderConfig:
    from mpjax.models.families import family_of

    return family_of(family).config(data)


def blank_model(config: EncoderConfig, task: Task, dtype: str) -> Model:
    """A model for a task whose parameters are shapes, as `mpjax train` would load it."""
    import jax
    import jax.numpy as jnp
    from flax.traverse_util import unflatten_dict

    from mpjax import models
    from mpjax.models.hf.weights import shapes
    from mpjax.runs.opening import MODEL_HEADS

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
