"""The model families mpjax knows. A new one is a module file, a name map and an entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from mpjax.errors import InputError
from mpjax.models.bert import Bert
from mpjax.models.bert_names import bert_modules
from mpjax.models.blocks import HEADS
from mpjax.models.config import BertConfig, EncoderConfig
from mpjax.models.distilbert import DistilBert, DistilBertConfig
from mpjax.models.distilbert_names import distilbert_modules
from mpjax.models.roberta import Roberta, RobertaConfig
from mpjax.models.roberta_names import roberta_modules


@dataclass(frozen=True)
class Family:
    """What reading, building and writing a model of one ``model_type`` needs.

    ``prefix`` is the name of the body, both in our params and in front of the body's tensors in a
    folder with a head; a folder of the bare body has no prefix and names starting with ``parts``.
    """

    config: Callable[[Mapping[str, Any]], EncoderConfig]
    module: Callable[..., nn.Module]  # (config, dtype, param_dtype, head=...)
    modules: Callable[[EncoderConfig, str], dict[str, str]]  # module path -> Hugging Face name
    prefix: str
    parts: tuple[str, ...]
    architectures: Mapping[str, str]  # head -> class name in config.json
    aliases: Mapping[str, str]  # other spellings of a tensor: fragment found -> fragment meant
    tied: Mapping[str, str]  # copy that a masked LM may store -> the tensor that it must equal


FAMILIES: dict[str, Family] = {
    "bert": Family(
        config=BertConfig.from_dict,
        module=Bert,
        modules=bert_modules,
        prefix="bert",
        parts=("embeddings", "encoder", "pooler"),
        architectures={
            "classification": "BertForSequenceClassification",
            "qa": "BertForQuestionAnswering",
            "mlm": "BertForMaskedLM",
            "features": "BertModel",
        },
        aliases={
            "LayerNorm.gamma": "LayerNorm.weight",
            "LayerNorm.beta": "LayerNorm.bias",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    "roberta": Family(
        config=RobertaConfig.from_dict,
        module=Roberta,
        modules=roberta_modules,
        prefix="roberta",
        parts=("embeddings", "encoder", "pooler"),
        architectures={
            "classification": "RobertaForSequenceClassification",
            "qa": "RobertaForQuestionAnswering",
            "mlm": "RobertaForMaskedLM",
            "features": "RobertaModel",
        },
        aliases={
            "LayerNorm.gamma": "LayerNorm.weight",
            "LayerNorm.beta": "LayerNorm.bias",
            "lm_head.decoder.bias": "lm_head.bias",
        },
        tied={
            "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
            "lm_head.decoder.bias": "lm_head.bias",
        },
    ),
    "distilbert": Family(
        config=DistilBertConfig.from_dict,
        module=DistilBert,
        modules=distilbert_modules,
        prefix="distilbert",
        parts=("embeddings", "transformer"),
        architectures={
            "classification": "DistilBertForSequenceClassification",
            "qa": "DistilBertForQuestionAnswering",
            "mlm": "DistilBertForMaskedLM",
            "features": "DistilBertModel",
        },
        aliases={},
        tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    ),
}


# Other names under which folders are saved -> the name of the family.
_MEANT = {"masked_bert": "bert"}


def family_of(model_type: object) -> Family:
    """The family of a ``model_type``; `InputError` names the known ones."""
    if isinstance(model_type, str):
        model_type = _MEANT.get(model_type, model_type)
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise InputError(
            f"model_type is {model_type!r}, which mpjax has no module for; "
            f"supported: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def encoder(
    config: EncoderConfig,
    head: str,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
) -> nn.Module:
    """The Linen module of an encoder with one head, without parameters.

    ``apply({"params": params}, input_ids, attention_mask=None, token_type_ids=None,
    deterministic=True, rngs={"dropout": key})`` takes integer (B, L) arrays (mask: 1 = token,
    0 = padding) and returns logits, float32 or wider:

    ==============  =======================================================
    classification  (B, labels)
    qa              (B, L, 2): ``[..., 0]`` start, ``[..., 1]`` end
    mlm             (B, L, vocabulary), decoder tied to the word embeddings
    features        (B, L, hidden), in ``dtype``
    ==============  =======================================================

    ``dtype`` is what products are computed in, ``param_dtype`` what parameters are stored in.
    Layer norm and softmax stay in float32 when ``dtype`` is narrower.

    >>> import jax
    >>> config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1,
    ...                     num_attention_heads=2, intermediate_size=16)
    >>> module = encoder(config, "qa")
    >>> ids = jnp.ones((2, 5), jnp.int32)
    >>> params = module.init(jax.random.key(0), ids)["params"]
    >>> module.apply({"params": params}, ids).shape
    (2, 5, 2)
    """
    check_head(head)
    family = FAMILIES[config.model_type]
    return family.module(config, dtype, param_dtype, head=head)


def check_head(head: str) -> None:
    """`InputError` unless ``head`` is one of `HEADS`."""
    if head not in HEADS:
        raise InputError(f"head is {head!r}; known: {', '.join(HEADS)}")
