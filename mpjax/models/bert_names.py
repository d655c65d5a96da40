"""Where BERT's parameters live: our module paths beside the names in a Hugging Face folder."""

from collections.abc import Mapping

from mpjax.models.config import EncoderConfig

_LAYER = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention/norm": "attention.output.LayerNorm",
    "ffn/in": "intermediate.dense",
    "ffn/out": "output.dense",
    "ffn/norm": "output.LayerNorm",
}
_EMBEDDINGS = {
    "word": "word_embeddings",
    "position": "position_embeddings",
    "token_type": "token_type_embeddings",
    "norm": "LayerNorm",
}
_HEADS = {
    "classification": {"bert/pooler": "bert.pooler.dense", "classifier": "classifier"},
    "features": {"bert/pooler": "bert.pooler.dense"},
    "qa": {"qa": "qa_outputs"},
    "mlm": {
        "mlm": "cls.predictions",
        "mlm/dense": "cls.predictions.transform.dense",
        "mlm/norm": "cls.predictions.transform.LayerNorm",
    },
}


def body_modules(
    config: EncoderConfig,
    body: str,
    stack: str = "encoder",
    embeddings: Mapping[str, str] = _EMBEDDINGS,
    layer: Mapping[str, str] = _LAYER,
) -> dict[str, str]:
    """Module path -> Hugging Face module name of the embeddings and the layers.

    ``body`` is what both sides call the encoder, ``stack`` what a folder calls its layers; where a
    family has no names of its own, BERT's serve.
    """
    modules = {f"{body}/embeddings/{k}": f"{body}.embeddings.{v}" for k, v in embeddings.items()}
    for i in range(config.num_hidden_layers):
        for ours, theirs in layer.items():
            modules[f"{body}/encoder/layer_{i}/{ours}"] = f"{body}.{stack}.layer.{i}.{theirs}"
    return modules


def bert_modules(config: EncoderConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name, for every module of the model with this head.

    >>> from mpjax.models import BertConfig
    >>> bert_modules(BertConfig(num_hidden_layers=1), "qa")["bert/encoder/layer_0/ffn/in"]
    'bert.encoder.layer.0.intermediate.dense'
    """
    return body_modules(config, "bert") | _HEADS[head]
