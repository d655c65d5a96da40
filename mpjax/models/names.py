"""Hugging Face module names of embeddings and layers, as most families share them."""

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

    Args:
      body: name of the body, in our paths and in the folder.
      stack: name of the stack of layers in the folder; ``encoder`` in our paths.
      embeddings, layer: names within the embeddings and within a layer; default: BERT's.
    """
    modules = {f"{body}/embeddings/{k}": f"{body}.embeddings.{v}" for k, v in embeddings.items()}
    for i in range(config.num_hidden_layers):
        for ours, theirs in layer.items():
            modules[f"{body}/encoder/layer_{i}/{ours}"] = f"{body}.{stack}.layer.{i}.{theirs}"
    return modules
