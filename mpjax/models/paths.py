"""Patterns for `re.fullmatch` on "/"-joined parameter paths, valid in every family.

``PRUNABLE``: the six matrices of every layer; ``FROZEN``: the embeddings, not trained.
"""

PRUNABLE = r".*/encoder/layer_\d+/(attention/(query|key|value|output)|ffn/(in|out))/kernel"
FROZEN = r".*/embeddings/.*"
