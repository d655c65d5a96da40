"""Where BERT's parameters live: our module paths beside the names in a Hugging Face folder."""

from mpjax.models.config import BertConfig

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


def bert_modules(config: BertConfig, head: str) -> dict[str, str]:
    """Module path -> Hugging Face module name, for every module of the model with this head.

    >>> bert_modules(BertConfig(num_hidden_layers=1), "qa")["bert/encoder/layer_0/ffn/in"]
    'bert.encoder.layer.0.intermediate.dense'
    """
    modules = {f"bert/embeddings/{k}": f"bert.embeddings.{v}" for k, v in _EMBEDDINGS.items()}
    for i in range(config.num_hidden_layers):
        for ours, theirs in _LAYER.items():
            modules[f"bert/encoder/layer_{i}/{ours}"] = f"bert.encoder.layer.{i}.{theirs}"
    return modules | _HEADS[head]
