"""Patterns for `re.fullmatch` on "/"-joined parameter paths, valid in every family.

``PRUNABLE``: the six matrices of every layer; ``FROZEN``: the embeddings, not trained; ``GROUPS``:
every parameter is in one of them. Poolers and layers below a classifier belong to the head.
"""

PRUNABLE = r".*/encoder/layer_\d+/(attention/(query|key|value|output)|ffn/(in|out))/kernel"
FROZEN = r".*/embeddings/.*"
GROUPS = {
    "embeddings": FROZEN,
    "weights": r".*/encoder/.*",
    "head": r"(?!.*/(embeddings|encoder)/).*",
}
