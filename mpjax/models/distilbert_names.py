"""Where DistilBERT's parameters live: our module paths beside the Hugging Face names."""

from mpjax.models.bert_names import body_modules
from mpjax.models.config import EncoderConfig

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
_EMBEDDINGS = {"word": "word_embeddings", "position": "position_embeddings", "norm": "LayerNorm"}
_HEADS = {
    "classification": {"pre_classifier": "pre_classifier", "classifier": "classifier"},
    "features": {},
    "qa": {"qa": "qa_outputs"},
    # The projector's weight is the word table; its bias is the head's own.
    "mlm": {
        "mlm": "vocab_projector",
        "mlm/dense": "vocab_transform",
        "mlm/norm": "vocab_layer_norm",
    },
}


def distilbert_modules(config: EncoderConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name, for every module of the model with this head.

    >>> from mpjax.models import DistilBertConfig
    >>> tiny = DistilBertConfig(num_hidden_layers=1)
    >>> distilbert_modules(tiny, "qa")["distilbert/encoder/layer_0/ffn/in"]
    'distilbert.transformer.layer.0.ffn.lin1'
    """
    return body_modules(config, "distilbert", "transformer", _EMBEDDINGS, _LAYER) | _HEADS[head]
