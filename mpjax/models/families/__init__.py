"""Model families, one file each, named after its ``model_type``; new files are found by import."""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from mpjax.errors import InputError
from mpjax.files import parse_object, shown
from mpjax.models.blocks import HEADS
from mpjax.models.config import EncoderConfig
from mpjax.models.family import Family
from mpjax.models.label_words import LABEL_WORDS, word_ids

CONFIG_JSON = "config.json"
FAMILIES: dict[str, Family] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").FAMILY
    for module in pkgutil.iter_modules(__path__)
}
# model_type of a training checkpoint of the published code -> family.
_ALIASES = {"masked_bert": "bert"}


def family_of(model_type: object) -> Family:
    """Family of a ``model_type``; `InputError` for an unknown one."""
    if isinstance(model_type, str):
        model_type = _ALIASES.get(model_type, model_type)
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise InputError(
            f"model_type is {shown(repr(model_type))}, which mpjax has no module for; "
            f"supported: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def parse_config(path: Path, data: Mapping[str, Any]) -> EncoderConfig:
    """Config from the object in the ``config.json`` at ``path``; `InputError` names it."""
    try:
        return family_of(data.get("model_type")).config(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def known_config(path: Path, content: bytes) -> EncoderConfig | None:
    """Config from the content of a ``config.json``; None for a model type of other programs."""
    data = parse_object(path, content)
    model_type = data.get("model_type")
    if not isinstance(model_type, str) or _ALIASES.get(model_type, model_type) not in FAMILIES:
        return None
    return parse_config(path, data)


def encoder(
    config: EncoderConfig,
    head: str,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> nn.Module:
    """Linen module of an encoder with one head, without parameters.

    ``apply({"params": params}, input_ids, attention_mask=None, token_type_ids=None,
    deterministic=True, rngs={"dropout": key})`` takes integer (B, L) arrays (mask: 1 = token,
    0 = padding) and returns logits, float32 or wider:

    ==============  =======================================================
    classification  (B, labels)
    tokens          (B, L, labels)
    qa              (B, L, 2): ``[..., 0]`` start, ``[..., 1]`` end
    mlm             (B, L, vocabulary), decoder tied to the word embeddings
    features        (B, L, hidden), in ``dtype``
    label_words     (B, labels): ``mlm`` at the first token, see `label_words`
    ==============  =======================================================

    Products are computed in ``dtype``, parameters stored in ``param_dtype``. Layer norm and softmax
    stay in float32 when ``dtype`` is narrower.

    >>> import jax
    >>> from mpjax.models import BertConfig
    >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    ...                     num_attention_heads=2, intermediate_size=16)
    >>> module = encoder(config, "qa")
    >>> ids = jnp.ones((2, 5), jnp.int32)
    >>> params = module.init(jax.random.key(0), ids)["params"]
    >>> module.apply({"params": params}, ids).shape
    (2, 5, 2)
    """
    check_head(head)
    if head == LABEL_WORDS:
        word_ids(config)  # refused here rather than when the module is traced
    family = FAMILIES[config.model_type]
    return family.module(config, dtype, param_dtype, head=head)


def check_head(head: str) -> None:
    """`InputError` unless ``head`` is one of `HEADS` or ``label_words``."""
    known = (*HEADS, LABEL_WORDS)
    if head not in known:
        raise InputError(f"head is {head!r}; known: {', '.join(known)}")
