"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler, with half the layers.

The family to copy for a new one. A family file is named after its ``model_type`` and defines, in
this order: a config with the fields and defaults of ``config.json``; a Linen module with the
classifier on top of the shared encoder; the tensor names of its folders; and ``FAMILY``, which the
package finds by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
from jax import Array

from mpjax.models.blocks import Encoder
from mpjax.models.config import EncoderConfig
from mpjax.models.family import Family
from mpjax.models.names import body_modules


# Config: fields beyond those of `EncoderConfig`, their checks, and keys of config.json that differ.
@dataclass(frozen=True)
class DistilBertConfig(EncoderConfig):
    """Sizes and constants of a DistilBERT encoder; defaults: the released model.

    >>> DistilBertConfig.from_dict({"dim": 64, "n_heads": 4}).head_size
    16
    """

    num_hidden_layers: int = 6
    seq_classif_dropout: float = 0.2
    qa_dropout: float = 0.1

    model_type: ClassVar[str] = "distilbert"
    rates: ClassVar[tuple[str, ...]] = (*EncoderConfig.rates, "seq_classif_dropout", "qa_dropout")
    keys: ClassVar[Mapping[str, tuple[str, ...]]] = {
        # transformers reads the first three under BERT's names as well.
        "hidden_size": ("dim", "hidden_size"),
        "num_hidden_layers": ("n_layers", "num_hidden_layers"),
        "num_attention_heads": ("n_heads", "num_attention_heads"),
        "intermediate_size": ("hidden_dim",),
        "hidden_dropout_prob": ("dropout",),
        "attention_probs_dropout_prob": ("attention_dropout",),
        "hidden_act": ("activation",),
    }

    @property
    def attention_output_dropout(self) -> float:
        return 0.0  # unlike BERT's

    @property
    def head_dropout(self) -> float:
        return self.seq_classif_dropout

    @property
    def token_dropout(self) -> float:
        return self.hidden_dropout_prob

    @property
    def span_dropout(self) -> float:
        return self.qa_dropout


# Module: the shared encoder, with the layers between the first token and the classifier.
class DistilBert(Encoder):
    """DistilBERT encoder with one head. Build it with `mpjax.models.encoder`."""

    prefix = "distilbert"

    def summary(self, first: Array, deterministic: bool) -> Array:
        c = self.config
        x = jax.nn.relu(self.dense(c.hidden_size, "pre_classifier")(first))
        return self.dropout(x, c.head_dropout, deterministic)


# Names: our module path -> Hugging Face module name, within the embeddings, a layer and each head.
_EMBEDDINGS = {"word": "word_embeddings", "position": "position_embeddings", "norm": "LayerNorm"}
_LAYER = {
    "attention/query": "attention.q_lin",
    "attention/key": "attention.k_lin",
    "attention/value": "attention.v_lin",
    "attention/output": "attention.out_lin",
    "attention/norm": "sa_layer_norm",
    "ffn/in": "ffn.lin1",
    "ffn/out": "ffn.lin2",
    "ffn/norm": "output_layer_norm",
}
_HEADS = {
    "classification": {"pre_classifier": "pre_classifier", "classifier": "classifier"},
    "features": {},
    "tokens": {"classifier": "classifier"},
    "qa": {"qa": "qa_outputs"},
    # The weight of vocab_projector is tied to the word table; our head has its bias only.
    "mlm": {
        "mlm": "vocab_projector",
        "mlm/dense": "vocab_transform",
        "mlm/norm": "vocab_layer_norm",
    },
}


def distilbert_modules(config: EncoderConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name of every module with parameters.

    >>> from mpjax.models import DistilBertConfig
    >>> tiny = DistilBertConfig(num_hidden_layers=1)
    >>> distilbert_modules(tiny, "qa")["distilbert/encoder/layer_0/ffn/in"]
    'distilbert.transformer.layer.0.ffn.lin1'
    """
    body = body_modules(
        config, "distilbert", stack="transformer", embeddings=_EMBEDDINGS, layer=_LAYER
    )
    return body | _HEADS[head]


# See `Family` for the fields.
FAMILY = Family(
    config=DistilBertConfig.from_dict,
    module=DistilBert,
    modules=distilbert_modules,
    prefix="distilbert",
    body=("embeddings", "transformer"),
    architectures={
        "classification": "DistilBertForSequenceClassification",
        "tokens": "DistilBertForTokenClassification",
        "qa": "DistilBertForQuestionAnswering",
        "mlm": "DistilBertForMaskedLM",
        "features": "DistilBertModel",
    },
    aliases={},
    tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
)
