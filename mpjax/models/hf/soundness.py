"""Whether weights can be those of a model at all: sizes before they are read, values after it."""

import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.models.config import EncoderConfig
from mpjax.models.room import check_room

_IN_A_LAYER = 16  # tensors: weights and biases of six matrices and two norms
# A wrong config.json is met here if it is wrong by more than this; smaller mistakes are found, and
# named better, when tensors are matched with parameters.
_SLACK = 2
_WEIGHTS = (".weight", ".bias", ".gamma", ".beta", ".mask_scores")
_AT_ONCE = 1 << 18  # entries looked at together: they stay in the cache of a core


def check_sizes(
    config: EncoderConfig, shapes: Mapping[str, tuple[int, ...]], source: object
) -> None:
    """Raises `InputError` for a config of far more weights or layers than the tensors have.

    Whatever is traced or allocated for the config later is then bounded by the file.
    """
    found, layers = sum(math.prod(shape) for shape in shapes.values()), config.num_hidden_layers
    if config.weights > _SLACK * found or _IN_A_LAYER * layers > _SLACK * len(shapes):
        raise InputError(
            f"{source}: {len(shapes)} tensors with {found:,} entries, where config.json asks for "
            f"{layers} layers and at least {config.weights:,} weights; "
            "check that the weights belong to config.json"
        )
    check_room(4 * config.dense_weights, f"{source}, before heads and FFN units were removed,")


def check_tensors(tensors: Mapping[str, np.ndarray], source: object) -> None:
    """Raises `InputError` for weights that are not floating point, and for values not finite.

    It takes 0.1 s for BERT-base.
    """
    for name, tensor in tensors.items():
        floating = np.issubdtype(tensor.dtype, np.floating) or tensor.dtype == ml_dtypes.bfloat16
        if not floating and name.endswith(_WEIGHTS):
            raise InputError(
                f"{source}: tensor {shown(name)} has the dtype {tensor.dtype}; weights are "
                "float16, bfloat16, float32 or float64: write the model again in one of them"
            )
        if floating and not (count := finite(tensor)) == tensor.size:
            raise InputError(
                f"{source}: {tensor.size - count:,} of {tensor.size:,} entries of tensor "
                f"{shown(name)} are not finite, so the model computes nothing; take an earlier "
                "checkpoint, or train again with a lower --learning-rate"
            )


def finite(tensor: np.ndarray) -> int:
    """Entries that are neither infinite nor NaN.

    >>> finite(np.array([1.0, np.nan, -np.inf]))
    1
    """
    flat = tensor.reshape(-1)
    parts = (flat[i : i + _AT_ONCE] for i in range(0, len(flat), _AT_ONCE))
    return sum(int(np.count_nonzero(np.isfinite(part))) for part in parts)
