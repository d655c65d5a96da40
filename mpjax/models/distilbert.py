"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler, and with half the layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import jax
from jax import Array

from mpjax.models.blocks import Encoder
from mpjax.models.config import EncoderConfig


@dataclass(frozen=True)
class DistilBertConfig(EncoderConfig):
    """Sizes and constants of a DistilBERT encoder; defaults are those of the original.

    >>> DistilBertConfig.from_dict({"dim": 64, "n_heads": 4}).head_size
    16
    """

    num_hidden_layers: int = 6
    seq_classif_dropout: float = 0.2
    qa_dropout: float = 0.1

    model_type: ClassVar[str] = "distilbert"
    keys: ClassVar[Mapping[str, tuple[str, ...]]] = {
        # transformers reads these three under BERT's names as well.
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
        return 0.0

    @property
    def head_dropout(self) -> float:
        return self.seq_classif_dropout

    @property
    def span_dropout(self) -> float:
        return self.qa_dropout


class DistilBert(Encoder):
    """A DistilBERT encoder with one head. Build it with `mpjax.models.encoder`."""

    prefix = "distilbert"

    def summary(self, first: Array, deterministic: bool) -> Array:
        c = self.config
        x = jax.nn.relu(self.dense(c.hidden_size, "pre_classifier")(first))
        return self.dropout(x, c.head_dropout, deterministic)
