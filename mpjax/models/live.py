"""Live attention heads and FFN units: those whose output depends on the tokens.

A feature of a head (a column of the value matrix, a row of the output matrix O) adds
``Σ_k softmax(..)_qk · v_k · O`` to its layer. It is dead if

* its row of O is zero, or
* its value column is zero: the softmax of a query sums to 1, so the feature adds the constant
  ``b_v · O`` for every token.

A head is dead if all its features are, whatever its query and key: with a zero query or key it
averages rather than vanishes.

An FFN unit is dead if its row of ``out`` is zero, or its column of ``in`` is zero: it adds the
constant ``act(b_in) · out`` for every token.

Lagunas et al. 2021 (arXiv 2109.04838) remove heads and FFN units whose blocks are all zero after
block movement pruning. The test on value and output alone, and the constants, are ours.
"""

import numpy as np

LayerParams = dict[str, np.ndarray]  # parameters of one layer by path within it


def live_heads(layer: LayerParams, head_size: int) -> np.ndarray:
    """(heads,) bool: heads with a feature whose value column and output row are not zero."""
    value, output = layer["attention/value/kernel"], layer["attention/output/kernel"]
    live = (value != 0).any(axis=0) & (output != 0).any(axis=1)
    return live.reshape(-1, head_size).any(axis=1)


def live_units(layer: LayerParams) -> np.ndarray:
    """(units,) bool: FFN units whose ``in`` column and ``out`` row are not zero."""
    return (layer["ffn/in/kernel"] != 0).any(axis=0) & (layer["ffn/out/kernel"] != 0).any(axis=1)
