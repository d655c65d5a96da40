"""RoBERTa (Liu et al. 2019): BERT with positions offset by the pad id and a deeper classifier."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from mpjax.errors import InputError
from mpjax.models.blocks import Embeddings, Encoder
from mpjax.models.config import EncoderConfig
from mpjax.models.families.bert import BertConfig
from mpjax.models.family import Family
from mpjax.models.names import body_modules


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """Sizes and constants of a RoBERTa encoder; defaults as in `transformers`.

    The first ``pad_token_id + 1`` rows of the position table are reserved, so ``max_length`` is
    smaller than ``max_position_embeddings``.

    >>> RobertaConfig(max_position_embeddings=514).max_length
    512
    """

    vocab_size: int = 50265
    pad_token_id: int | None = 1

    model_type: ClassVar[str] = "roberta"

    def __post_init__(self) -> None:
        super().__post_init__()
        pad = self.pad_token_id
        if not isinstance(pad, int) or isinstance(pad, bool) or pad < 0:
            raise InputError(
                f"pad_token_id must be a whole number, 0 or more, found {pad!r}; "
                "positions are counted from it"
            )
        if self.max_length < 1:
            raise InputError(
                f"max_position_embeddings {self.max_position_embeddings} leaves no position for a "
                f"token beside the first {pad + 1}, which pad_token_id {pad} takes"
            )

    @property
    def max_length(self) -> int:
        assert self.pad_token_id is not None
        return self.max_position_embeddings - self.pad_token_id - 1

    @property
    def mlm_act(self) -> str:
        return "gelu"  # fixed in the original, independent of hidden_act


class RobertaEmbeddings(Embeddings):
    """BERT embeddings whose positions skip padding and start after ``pad_token_id``."""

    def positions(self, input_ids: Array) -> Array:
        """(B, L): ``pad_token_id`` for padding, ``pad_token_id + n`` for the n-th other token.

        Padding is recognised by its id, not by the attention mask, as in pretraining.
        """
        pad = self.config.pad_token_id
        assert pad is not None  # checked by the config
        real = (input_ids != pad).astype(jnp.int32)
        return jnp.cumsum(real, axis=1) * real + pad


class Roberta(Encoder):
    """RoBERTa encoder with one head. Build it with `mpjax.models.encoder`."""

    prefix = "roberta"
    pooled = ("features",)  # unused, but in the folder of the bare encoder
    embeddings = RobertaEmbeddings

    def summary(self, first: Array, deterministic: bool) -> Array:
        c = self.config
        x = self.dropout(first, c.head_dropout, deterministic)
        x = jnp.tanh(self.dense(c.hidden_size, "pre_classifier")(x))
        return self.dropout(x, c.head_dropout, deterministic)


_HEADS = {
    "classification": {"pre_classifier": "classifier.dense", "classifier": "classifier.out_proj"},
    "features": {"roberta/pooler": "roberta.pooler.dense"},
    "tokens": {"classifier": "classifier"},
    "qa": {"qa": "qa_outputs"},
    "mlm": {"mlm": "lm_head", "mlm/dense": "lm_head.dense", "mlm/norm": "lm_head.layer_norm"},
}


def roberta_modules(config: EncoderConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name of every module with parameters.

    >>> from mpjax.models import RobertaConfig
    >>> roberta_modules(RobertaConfig(num_hidden_layers=1), "classification")["classifier"]
    'classifier.out_proj'
    """
    return body_modules(config, "roberta") | _HEADS[head]


FAMILY = Family(
    config=RobertaConfig.from_dict,
    module=Roberta,
    modules=roberta_modules,
    prefix="roberta",
    body=("embeddings", "encoder", "pooler"),
    architectures={
        "classification": "RobertaForSequenceClassification",
        "tokens": "RobertaForTokenClassification",
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
)
