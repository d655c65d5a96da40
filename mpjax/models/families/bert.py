"""BERT (Devlin et al. 2019): token types, learned positions, a pooler below the classifier."""

from dataclasses import dataclass
from typing import ClassVar

from jax import Array

from mpjax.models.blocks import Encoder
from mpjax.models.config import EncoderConfig
from mpjax.models.family import Family
from mpjax.models.names import body_modules


@dataclass(frozen=True)
class BertConfig(EncoderConfig):
    """Sizes and constants of a BERT encoder; defaults: BERT-base. Errors as in `EncoderConfig`.

    >>> BertConfig(hidden_size=64, num_attention_heads=4).head_size
    16
    """

    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = None  # None: hidden_dropout_prob

    model_type: ClassVar[str] = "bert"
    sizes: ClassVar[tuple[str, ...]] = (*EncoderConfig.sizes, "type_vocab_size")
    rates: ClassVar[tuple[str, ...]] = (*EncoderConfig.rates, "classifier_dropout")
    not_negative: ClassVar[tuple[str, ...]] = (*EncoderConfig.not_negative, "layer_norm_eps")

    @property
    def token_types(self) -> int:
        return self.type_vocab_size

    @property
    def norm_epsilon(self) -> float:
        return float(self.layer_norm_eps)

    @property
    def head_dropout(self) -> float:
        if self.classifier_dropout is None:
            return self.hidden_dropout_prob
        return self.classifier_dropout


class Bert(Encoder):
    """BERT encoder with one head. Build it with `mpjax.models.encoder`."""

    prefix = "bert"
    # The bare encoder does not use the pooler, but its folder has one: keep it among the
    # parameters. Under jit the unused product is eliminated.
    pooled = ("classification", "features")

    def summary(self, first: Array, deterministic: bool) -> Array:
        return self.dropout(first, self.config.head_dropout, deterministic)


_HEADS = {
    "classification": {"bert/pooler": "bert.pooler.dense", "classifier": "classifier"},
    "features": {"bert/pooler": "bert.pooler.dense"},
    "tokens": {"classifier": "classifier"},
    "qa": {"qa": "qa_outputs"},
    "mlm": {
        "mlm": "cls.predictions",
        "mlm/dense": "cls.predictions.transform.dense",
        "mlm/norm": "cls.predictions.transform.LayerNorm",
    },
}


def bert_modules(config: EncoderConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name of every module with parameters.

    >>> from mpjax.models import BertConfig
    >>> bert_modules(BertConfig(num_hidden_layers=1), "qa")["bert/encoder/layer_0/ffn/in"]
    'bert.encoder.layer.0.intermediate.dense'
    """
    return body_modules(config, "bert") | _HEADS[head]


FAMILY = Family(
    config=BertConfig.from_dict,
    module=Bert,
    modules=bert_modules,
    prefix="bert",
    body=("embeddings", "encoder", "pooler"),
    architectures={
        "classification": "BertForSequenceClassification",
        "tokens": "BertForTokenClassification",
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
)
