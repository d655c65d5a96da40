"""Attention heads and FFN units that contribute more than a constant.

A feature of a head (a column of value, a row of the output matrix) adds
``Σ_k softmax(..)_qk · v_k · O``. It is dead when its value column is zero, since the softmax of a
query sums to 1 and what it adds is ``b_v · O`` for every token; or when its row of O is zero. A
head is dead when all its features are, whatever its query and key; with a zero query or key it
averages rather than vanishes.

An FFN unit is dead when its row of ``out`` is zero, or when its column of ``in`` is zero, and it
adds ``act(b_in) · out`` for every token.
"""

import numpy as np

LayerParams = dict[str, np.ndarray]  # parameters of one layer by their path in it


def live_heads(layer: LayerParams, head_size: int) -> np.ndarray:
    """(heads,) bool: which heads have a feature that carries something from token to token."""
    value, output = layer["attention/value/kernel"], layer["attention/output/kernel"]
    live = (value != 0).any(axis=0) & (output != 0).any(axis=1)
    return live.reshape(-1, head_size).any(axis=1)


def live_units(layer: LayerParams) -> np.ndarray:
    """(units,) bool: which FFN units add something that hangs on the token."""
    return (layer["ffn/in/kernel"] != 0).any(axis=0) & (layer["ffn/out/kernel"] != 0).any(axis=1)
