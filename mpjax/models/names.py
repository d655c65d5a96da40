"""Names of modules in a Hugging Face folder beside our module paths, as families share them."""

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
