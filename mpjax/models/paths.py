"""Which parameters pruning and training speak of: patterns for re.fullmatch on a "/"-path.

The same in every family.
"""

PRUNABLE = r".*/encoder/layer_\d+/(attention/(query|key|value|output)|ffn/(in|out))/kernel"
FROZEN = r".*/embeddings/.*"
